"""Samples of a recommender from a raw log on, without a verdict."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from augment.language.encoders import TextEncoder
from augment.recipes import loading
from augment.runs import single
from augment.runs.task import Job

RECIPE = """
name = "shop"
output = "{folder}/out"
[sources.log]
path = "{folder}/log.parquet"
columns = {{ user = "u", item = "i", timestamp = "t", text = "title" }}
split = {{ by = "user_time" }}
[tasks.shop]
consumer = "recommender"
source = "log"
samples = 40
strategies = {{ {strategy} = 1.0 }}
gates = {{ band = [-9.0, 9.0], min_label_agreement = 0.1 }}
generator = {{ bank = 30, draws = 4 }}
verdict = {{ clean = ["ndcg@20"], improve = ["coverage"] }}
"""


def encode(texts):
    """Titles are "colour number": colours alone count."""
    return np.array([[text.startswith("red"), not text.startswith("red")] for text in texts], np.float32)


@pytest.fixture
def generate(tmp_path, monkeypatch):
    """Generates by one strategy from a log of 60 users who like items of one colour; one item in nine has no title."""
    rng = np.random.default_rng(0)
    pairs = [(u, 2 * i + u % 2) for u in range(60) for i in rng.choice(30, 12, replace=False)]
    titles = [None if i % 9 == 0 else f"{('red', 'blue')[i % 2]} {i}" for _, i in pairs]
    columns = {"u": [f"u{u}" for u, _ in pairs], "i": [f"i{i}" for _, i in pairs], "title": titles}
    times = pa.array(1_600_000_000 + 60 * rng.permutation(len(pairs)))
    pq.write_table(pa.table({**columns, "t": times}), tmp_path / "log.parquet")
    monkeypatch.setattr(Job, "encoder", lambda *_: TextEncoder("colours", 2, encode, None))

    def made(strategy):
        text = RECIPE.format(folder=tmp_path, strategy=strategy)
        single.generate_only(loading.parse(text, "shop.toml"), "shop", tmp_path / strategy, device="cpu")
        table = ds.dataset(tmp_path / strategy).to_table()
        return table["anchor_id"].to_pylist(), pa.Table.from_struct_array(table["decoded"].combine_chunks())

    return made


def test_other_orders_of_histories_are_samples(generate):
    users, decoded = generate("item-reorder")
    assert len(users) == 40
    assert decoded["items"].to_pylist() != decoded["targets"].to_pylist()
    for shown, targets in zip(*(decoded[name].to_pylist() for name in ("items", "targets")), strict=True):
        assert sorted(shown) == sorted(targets)


def test_pseudo_interactions_follow_the_texts_of_items(generate):
    _, decoded = generate("pseudo-interactions")
    colour = [{int(item[1:]) % 2 for item in items if int(item[1:]) % 9} for items in decoded["targets"].to_pylist()]
    assert all(len(found) == 1 for found in colour)
    assert pc.sum(pc.list_value_length(decoded["targets"])).as_py() > 8 * 40
