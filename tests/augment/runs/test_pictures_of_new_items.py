"""A catalogue whose pictures say what its items are like."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import KINDS, drawn_bytes
from ran import run

from augment.base.errors import UsageError
from augment.generation.catalogue import SEEN, Catalogue
from augment.pictures.decoding import DAMAGED, decoded
from augment.recipes import loading
from augment.recipes.schema import NewItems
from augment.sources.media import ABSENT, LEAVES
from augment.sources.prepare import PRODUCTS, prepare_catalogue

EACH, USERS = 80, 200
RECIPE = """
name = "shop"
seed = 3
output = "{folder}/out"
[sources.orders]
path = "{folder}/orders.parquet"
columns = {{ user = "user", item = "item" }}
split = {{ by = "new_items", valid = 0.1, test = 0.25 }}
[sources.catalogue]
path = "{folder}/catalogue.parquet"
columns = {{ item = "sku", image = "photo", numbers = ["price"] }}
[tasks.recommend]
consumer = "recommender"
source = "orders"
products = "catalogue"
options = {{ l2 = 20.0, recency = 0.0 }}
new_items = {{ maps = ["ridge", "attention"], neighbours = 40 }}
verdict = {{ seeds = 1, draws = 100, clean = ["ndcg@20"], improve = ["ndcg_all@20", "recall_new@20"] }}
"""


def shop(folder):
    """Orders of users who like one kind, whose items' pictures alone say so: prices are drawn."""
    rng = np.random.default_rng(0)
    orders = []
    for user in range(USERS):
        liked = [f"{KINDS[user % 3]}-{n}" for n in rng.choice(EACH, 12, replace=False)]
        orders += [(f"u{user}", item) for item in [*liked, *(f"{KINDS[rng.integers(3)]}-{n}" for n in range(2))]]
    users, items = zip(*sorted(set(orders)), strict=True)
    pq.write_table(pa.table({"user": users, "item": items}), folder / "orders.parquet")
    names = [(kind, n) for kind in KINDS for n in range(EACH)]
    photos = [drawn_bytes(kind, n, (60, 75)) if n else None for kind, n in names]
    made = {"sku": [f"{kind}-{n}" for kind, n in names], "photo": photos, "price": rng.random(len(names))}
    pq.write_table(pa.table(made), folder / "catalogue.parquet")


def recipe(folder, old="", new=""):
    text = RECIPE.format(folder=folder)
    assert old in text
    return loading.parse(text.replace(old, new), "shop.toml")


def shown(found):
    task = run(found, device="cpu", threads=1)["tasks"]["recommend"]
    return task, task["verdict"]["recall_new@20"]["mix"]


def test_the_map_finds_what_pictures_alone_tell(tmp_path):
    shop(tmp_path)
    task, seen = shown(recipe(tmp_path))
    assert task["status"] == "published", task["reason"]
    assert task["verdict"]["ndcg@20"]["real"] == task["verdict"]["ndcg@20"]["mix"]
    _, unseen = shown(recipe(tmp_path, ', image = "photo"'))
    assert seen > unseen + 0.2


def test_paths_and_no_pictures_are_quarantined_as_in_any_source(tmp_path):
    shop(tmp_path)
    made = pq.read_table(tmp_path / "catalogue.parquet")
    (tmp_path / "photos").mkdir()
    paths = []
    for name, photo in zip(made["sku"].to_pylist(), made["photo"].to_pylist(), strict=True):
        paths.append(None if photo is None else f"{name}.jpg")
        if photo is not None:
            (tmp_path / "photos" / paths[-1]).write_bytes(photo[:500] if name == "bag-7" else photo)
    paths[1], paths[2] = "../orders.parquet", "nowhere.jpg"
    pq.write_table(made.set_column(1, "photo", pa.array(paths)), tmp_path / "catalogue.parquet")
    found = recipe(tmp_path, "[tasks.", f'images = "{tmp_path}/photos"\n[tasks.')
    splits = prepare_catalogue("catalogue", found.sources["catalogue"], PRODUCTS, tmp_path / "work", 0)
    assert splits.quarantined == {DAMAGED: 1, ABSENT.format("image"): 1, LEAVES.format("image"): 1}
    read = pq.read_table(splits.train)
    assert len(read) == len(made) - 3
    assert read["image"].null_count == len(KINDS)  # which is no fault


class Grey:
    """Pictures as their mean colour."""

    def encode(self, pictures):
        return np.stack([decoded(picture).float().mean((1, 2)).numpy() for picture in pictures])


def test_an_item_without_a_picture_has_zeros_there():
    photos = [drawn_bytes("bag", 0), None, drawn_bytes("shoe", 1), drawn_bytes("shirt", 2)]
    table = pa.table({"item_id": list("abcd"), "image": pa.array(photos, pa.binary()), "kind": ["x", "x", "y", None]})
    found = Catalogue.of(table, None, image_encoder=Grey)
    assert found.seen == SEEN
    lengths = np.linalg.norm(found.image, axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 1, 1], atol=1e-5)
    half = found.vectors(1.0, 0.5)
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(half[1] @ half[0], 0.5**0.5, atol=1e-5)  # of one kind, and the other has a picture too
    assert not found.vectors(1.0)[3].any()


def test_where_no_item_has_a_picture_none_is_encoded():
    table = pa.table({"item_id": list("ab"), "image": pa.nulls(2, pa.binary()), "kind": ["x", "x"]})
    found = Catalogue.of(table, None, image_encoder=lambda: pytest.fail("there is no picture to encode"))
    assert found.image is None
    assert found.seen == (0.0,)


def test_pictures_alone_are_all_of_an_item():
    table = pa.table({"item_id": list("ab"), "image": [drawn_bytes("bag", 0), drawn_bytes("shoe", 1)]})
    found = Catalogue.of(table, None, image_encoder=Grey)
    assert (found.shares, found.seen) == ((1.0,), (1.0,))
    np.testing.assert_allclose(found.vectors(1.0, 1.0), found.image, atol=1e-6)


def test_an_image_encoder_that_is_none_is_said_before_anything_is_read(tmp_path):
    named = recipe(tmp_path, "neighbours = 40", 'neighbours = 40, image_encoder = "minilm"')
    with pytest.raises(UsageError, match=r"^tasks.recommend.new_items.image_encoder: no image encoder 'minilm'"):
        run(named, device="cpu", threads=1)


def test_a_recipe_without_image_encoder_is_written_as_before_there_was_any(tmp_path):
    new_items = {"neighbours": 40, "image_encoder": "efficientnet-lite0"}
    assert "image_encoder" not in recipe(tmp_path).tasks["recommend"].model_dump(mode="json")["new_items"]
    assert NewItems(**new_items).model_dump()["image_encoder"] == "efficientnet-lite0"
