"""`sparring init` on a log of orders and the catalogue of what is ordered."""

import base64

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from augment.base.errors import UsageError
from augment.drafting.draft import write_recipe
from augment.drafting.guess import Choices
from augment.recipes import loading
from augment.testing.data import picture

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


@pytest.mark.parametrize(("user", "chosen"), [("household_id", {}), ("who", {"user": "who"})])
def test_users_and_items_that_the_user_names_are_those_of_the_catalogue_too(tmp_path, user, chosen):
    orders, products = shop(tmp_path, ("thing", "label"))
    log = pc.read_csv(orders).rename_columns([user, "thing"])
    pc.write_csv(log, orders)
    choices = Choices(item="thing", text="label", **chosen)
    made = loading.parse(write_recipe([orders, products], choices), "written")
    task, of_log, columns = made.tasks["orders"], made.sources["orders"].columns, made.sources["products"].columns
    assert (task.products, of_log.user, of_log.item) == ("products", user, "thing")
    assert (columns.item, columns.text, columns.fields) == ("thing", "label", ["brand"])


def test_a_catalogue_of_more_items_than_are_looked_at_is_one(tmp_path):
    orders, products = shop(tmp_path)
    items = {"item_id": [f"i{i}" for i in range(25_000)], "maker_id": [i % 300 for i in range(25_000)]}
    pc.write_csv(pa.table({**items, "weight": [i % 400 for i in range(25_000)]}), products)
    made = loading.parse(write_recipe([orders, products]), "written")
    assert made.tasks["orders"].products == "products"
    columns = made.sources["products"].columns
    assert (columns.fields, columns.numbers) == (["maker_id"], ["weight"])  # which, and how much


def test_people_are_known_by_the_column_that_the_user_names(tmp_path):
    orders, _ = shop(tmp_path)
    pc.write_csv(pc.read_csv(orders).rename_columns(["who", "item_id"]), orders)
    people = pa.table({"who": [f"u{i}" for i in range(20)], "city": [f"c{i % 3}" for i in range(20)]})
    pc.write_csv(people, tmp_path / "people.csv")
    made = loading.parse(write_recipe([orders, tmp_path / "people.csv"], Choices(user="who")), "written")
    assert list(made.tasks) == ["orders"]
    assert made.sources["people"].columns.user == "who"


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


def with_photos(folder, photos, name="photo"):
    """The same shop, of whose products there is a column of photos more."""
    orders, products = shop(folder)
    table = pc.read_csv(products).append_column(name, pa.array(photos))
    products.unlink()
    pq.write_table(table, folder / "products.parquet")
    return [orders, folder / "products.parquet"]


PHOTOS = [picture(n % 2 == 0, n) for n in range(60)]


@pytest.mark.parametrize("photos", [PHOTOS, [base64.b64encode(photo).decode() for photo in PHOTOS]])
@pytest.mark.parametrize("name", ["photo", "whatever"])
def test_pictures_of_a_catalogue_are_kept_beside_what_is_said(tmp_path, photos, name):
    source = loading.parse(write_recipe(with_photos(tmp_path, photos, name)), "written").sources["products"]
    assert (source.columns.image, source.images) == (name, None)
    assert (source.columns.text, source.columns.fields, source.columns.numbers) == ("title", ["brand"], ["price"])


def test_paths_of_a_catalogues_pictures_begin_in_its_folder(tmp_path):
    for n, photo in enumerate(PHOTOS):
        (tmp_path / f"{n}.jpg").write_bytes(photo)
    files = with_photos(tmp_path, [f"{n}.jpg" for n in range(60)])
    source = loading.parse(write_recipe(files), "written").sources["products"]
    assert (source.columns.image, source.images) == ("photo", str(tmp_path))


def test_a_catalogue_whose_pictures_are_elsewhere_is_read_without_them(tmp_path):
    written = write_recipe(with_photos(tmp_path, [f"{n}.jpg" for n in range(60)]))
    source = loading.parse(written, "written").sources["products"]
    assert (source.columns.image, source.images) == (None, None)
    assert "'photo' is left out: 100% are bad: image file missing" in written
    assert source.columns.text == "title"


def test_pictures_alone_say_what_items_are(tmp_path):
    orders, products = with_photos(tmp_path, PHOTOS)
    pq.write_table(pq.read_table(products).select(["item_id", "photo"]), products)
    columns = loading.parse(write_recipe([orders, products]), "written").sources["products"].columns
    assert (columns.item, columns.image, columns.text, columns.fields) == ("item_id", "photo", None, [])
