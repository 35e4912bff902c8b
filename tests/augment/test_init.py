import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from augment import recipe
from augment.errors import BadInput, UsageError
from augment.init import write_recipe


def written(tmp_path, name, table):
    path = tmp_path / name
    pc.write_csv(table, path) if name.endswith("csv") else pq.write_table(table, path)
    text = write_recipe([path])
    return recipe.parse(text, "written"), text


def test_demo_files_get_the_task_they_are_for(demo_folder):
    paths = [demo_folder / f"{name}.parquet" for name in ("behaviour", "impressions", "reviews")]
    made = recipe.parse(write_recipe(paths), "written")
    assert {name: task.consumer for name, task in made.tasks.items()} == {
        "behaviour": "recommender",
        "impressions": "ctr",
        "reviews": "sentiment",
    }
    impressions = made.sources["impressions"]
    assert impressions.columns.user == "user_id"
    assert {"gender", "occupation", "genre"} <= set(impressions.columns.fields)
    assert impressions.split.by == "time"
    assert made.sources["behaviour"].split.by == "user_time"


def test_star_ratings_become_a_threshold_and_odd_names_are_found(tmp_path):
    table = pa.table({"Review Text": ["good", "bad"] * 20, "Stars": [5, 1] * 20, "Category": ["a", "b"] * 20})
    made, text = written(tmp_path, "My Reviews.csv", table)
    source = made.sources["my-reviews"]
    assert source.columns.text == "Review Text"
    assert source.positive == 4
    assert source.columns.segment == "Category"
    assert "# Looks like sentiment data" in text


def test_two_files_of_one_name_get_two_tasks(tmp_path):
    table = pa.table({"user_id": ["a", "b"], "item_id": ["x", "y"]})
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        pq.write_table(table, tmp_path / folder / "logs.parquet")
    made = recipe.parse(write_recipe([tmp_path / f / "logs.parquet" for f in ("one", "two")]), "written")
    assert set(made.tasks) == {"logs", "logs-2"}


def test_columns_that_fit_no_task_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"columns apples, pears fit no task"):
        written(tmp_path, "fruit.csv", pa.table({"apples": [1], "pears": [2]}))


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"x.parquet: cannot be read"):
        write_recipe([tmp_path / "x.parquet"])
    (tmp_path / "x.xlsx").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"format '\.xlsx'"):
        write_recipe([tmp_path / "x.xlsx"])
