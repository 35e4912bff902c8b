"""`sparring init` on a log of orders and the catalogue of what is ordered."""

import pyarrow as pa
import pyarrow.csv as pc
import pytest

from augment.base.errors import UsageError
from augment.drafting.draft import write_recipe
from augment.recipes import loading

ROWS = 240


def shop(folder, names=("item_id", "title")):
    users = [f"u{i % 20}" for i in range(ROWS)]
    log = pa.table({"user_id": users, "item_id": [f"i{i * 7 % 40}" for i in range(ROWS)]})
    pc.write_csv(log, folder / "orders.csv")
    made = {names[0]: [f"i{i}" for i in range(60)], names[1]: [f"a thing of the kind {i % 9}" for i in range(60)]}
    made |= {"brand": [f"b{i % 5}" for i in range(60)], "price": [1.5 + i / 7 for i in range(60)]}
    pc.write_csv(pa.table(made), folder / "products.csv")
    return [folder / "orders.csv", folder / "products.csv"]


@pytest.mark.parametrize("names", [("item_id", "title"), ("sku", "Product Name"), ("id", "description")])
def test_a_catalogue_beside_a_log_is_its_products(tmp_path, names):
    made = loading.parse(write_recipe(shop(tmp_path, names)), "written")
    assert list(made.tasks) == ["orders"]
    task, columns = made.tasks["orders"], made.sources["products"].columns
    assert (task.products, made.sources["orders"].split.by) == ("products", "new_items")
    assert (columns.item, columns.text, columns.fields, columns.numbers) == (*names, ["brand"], ["price"])
    assert "recall_new@20" in task.verdict.improve


def test_a_catalogue_alone_is_no_task(tmp_path):
    with pytest.raises(UsageError, match="fit no task"):
        write_recipe(shop(tmp_path)[1:])


def test_a_file_that_has_items_twice_is_no_catalogue(tmp_path):
    shop(tmp_path)
    log = {"user_id": [f"u{i % 9}" for i in range(ROWS)], "click": [i % 2 for i in range(ROWS)]}
    pc.write_csv(pa.table({**log, "item_id": [f"i{i}" for i in range(ROWS)]}), tmp_path / "clicks.csv")
    made = loading.parse(write_recipe([tmp_path / "orders.csv", tmp_path / "clicks.csv"]), "written")
    assert {name: task.consumer for name, task in made.tasks.items()} == {"orders": "recommender", "clicks": "ctr"}
    assert all(task.products is None for task in made.tasks.values())
