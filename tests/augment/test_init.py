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


def clicks(rows=300, **extra):
    columns = {"user_id": [f"u{i % 9}" for i in range(rows)], "click": [i % 2 for i in range(rows)]}
    return pa.table({**columns, **extra})


def test_numbers_of_a_csv_file_are_told_from_codes_and_ids(tmp_path):
    extra = {
        "price": [i / 7 for i in range(300)],
        "postcode": [f"{i % 60:05d}" for i in range(300)],
        "shop_id": [i % 60 for i in range(300)],
        "device": [f"d{i % 3}" for i in range(300)],
    }
    columns = written(tmp_path, "shop.csv", clicks(**extra))[0].sources["shop"].columns
    assert columns.numbers == ["price"]
    assert columns.fields == ["postcode", "shop_id", "device"]


def test_names_that_a_recipe_cannot_hold_do_not_reach_it(tmp_path):
    extra = {"weight": ["a", "b"] * 150, 'odd"\n[tasks.x]': ["a", "b"] * 150}
    made, _ = written(tmp_path, "_clicks.parquet", clicks(**extra))
    assert made.sources["clicks"].columns.fields == ['odd"\n[tasks.x]']
    assert set(made.tasks) == {"clicks"}
