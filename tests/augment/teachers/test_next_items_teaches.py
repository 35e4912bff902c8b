"""The teacher of sequences: what it names, that it never saw whom it labels, and a whole run that it labels."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ran import run

from augment.base.errors import UsageError
from augment.contracts.registry import modality_class
from augment.contracts.teacher import Room, build, check
from augment.contracts.values import Candidates
from augment.recipes import loading
from consumers import ClickModel, NextItem, Recommender

OF = "transitions, recency"
ITEMS = 16
LIST = pa.list_(pa.string())


def log(users, length=8):
    """Everyone goes round the items."""
    rows = [
        (f"u{u:02}", f"i{(u + at) % ITEMS:02}", 1_700_000_000 + 60 * at) for u in range(users) for at in range(length)
    ]
    return pa.table(dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="module")
def room():
    rows = log(32)
    last = pa.array(np.arange(len(rows)) % 8 >= 6)
    train, valid = rows.filter(pa.compute.invert(last)), rows.filter(last)
    trained = lambda wanted: [model.fit(rows, valid) for model, rows in wanted.values()]  # noqa: E731
    plain = lambda seed: {OF: NextItem(model="transitions", seed=seed)}  # noqa: E731
    return Room(train, valid, modality_class("sequences"), NextItem, NextItem, trained, plain, 0, "cpu")


def candidates(users, items, targets):
    columns = {"items": items, "targets": targets, "negatives": [[] for _ in users]}
    rows = pa.table({"row_id": users, **{name: pa.array(column, LIST) for name, column in columns.items()}})
    return Candidates(np.arange(len(users)), rows, np.zeros((len(users), 2), np.float32))


def test_what_comes_next_is_named_after_the_sequence_as_it_was_edited(room):
    given = candidates(["u00", "u05"], [["i03", "i04"], ["i09", "i01"]], [["i14"], ["i02"]])
    taught = build("next-items", {"of": OF, "items": 1}).fit(room).label(given)
    assert taught.rows["targets"].to_pylist() == [["i14", "i05"], ["i02"]]
    assert taught.rows.schema.equals(given.rows.schema)
    assert taught.spread.tolist() == [0.0, 0.0]
    alone = build("next-items", {"of": OF, "items": 2, "own": False}).fit(room).label(given)
    assert [one[0] for one in alone.rows["targets"].to_pylist()] == ["i05", "i02"]
    assert all(len(one) == 2 for one in alone.rows["targets"].to_pylist())


def test_who_is_labelled_taught_nothing_to_the_model_that_labels(room):
    """A user of habits of its own: the others' model says what they do."""
    odd = pa.table({"user_id": ["odd"] * 6, "item_id": ["i00", "i08"] * 3, "timestamp": list(range(6))})
    train = pa.concat_tables([room.train, odd.cast(room.train.schema)])
    here = Room(train, *(getattr(room, name) for name in list(Room.__dataclass_fields__)[1:]))
    given = candidates(["odd", "u03"], [["i08", "i00"], ["i00"]], [["i08"], ["i01"]])
    taught = build("next-items", {"of": OF, "items": 1, "own": False}).fit(here).label(given)
    assert taught.rows["targets"].to_pylist() == [["i01"], ["i01"]]


def test_it_is_measured_as_its_plain_model_is(room):
    found = build("next-items", {"of": OF}).fit(room).measures(room.valid)["ndcg@20"].value()
    assert found == room.plain(0)[OF].fit(room.train, room.valid).evaluate(room.valid, {})["ndcg@20"].value() > 0.5


@pytest.mark.parametrize(
    ("consumer", "options", "said"),
    [
        (ClickModel, {}, "teacher 'next-items' does not serve fields"),
        (NextItem, {"of": "GRU4Rek"}, "of = 'GRU4Rek' is no plain model; did you mean 'GRU4Rec'"),
        (Recommender, {}, "of = 'EASE, recency' scores no sequences"),
        (NextItem, {"items": 0}, "items"),
    ],
)
def test_where_it_cannot_teach_is_said_in_one_line(consumer, options, said):
    with pytest.raises(UsageError, match=said) as raised:
        check("next-items", consumer, options, "tasks.any")
    assert "\n" not in str(raised.value)


RECIPE = """
name = "walks"
seed = 1
output = "{output}"
[sources.rows]
path = "{path}"
columns = {{ user = "user_id", item = "item_id", timestamp = "timestamp" }}
split = {{ by = "{by}", valid = 0.2, test = 0.2 }}
max_per_minute = 100000
[tasks.next]
consumer = "sequence"
source = "rows"
options = {{ {options} }}
samples = 40
{teachers}
strategies = {{ gan = 0.4, insert = 0.2, substitute = 0.2, crop = 0.2 }}
gates = {{ min_plausibility = 0.0, min_label_agreement = 0.0, band = [-9.0, 9.0] }}
generator = {{ bank = 20, steps = 10, draws = 2 }}
verdict = {{ seeds = 2, draws = 100, clean = ["ndcg@20"], improve = ["ndcg_misclicks@20"], tolerance = 1.0 }}
"""


def published(folder, options, teachers="", by="user_time"):
    pq.write_table(log(40, 12), folder / "log.parquet")
    recipe = RECIPE.format(
        output=folder / "out", path=folder / "log.parquet", options=options, teachers=teachers, by=by
    )
    task = run(loading.parse(recipe, "walks.toml"), device="cpu")["tasks"]["next"]
    files = [f for f in Path(folder).glob("out/next/**/*.parquet") if "quarantine" not in str(f)]
    return task, pa.concat_tables(pq.ParquetFile(f).read() for f in files)


@pytest.fixture
def one_plain_model(monkeypatch):
    made = lambda cls, seed, device: {OF: cls(model="transitions", seed=seed, device=device)}  # noqa: E731
    monkeypatch.setattr(NextItem, "baselines", classmethod(made))


@pytest.mark.usefixtures("one_plain_model")
def test_a_recipe_of_sequences_comes_to_a_verdict_and_its_samples_keep_their_order(tmp_path):
    task, samples = published(tmp_path, 'model = "sasrec", dim = 16, epochs = 2', by="time")
    assert task["status"] in ("published", "rejected")
    assert {*samples["strategy"].to_pylist()} == {"gan", "insert", "substitute", "crop"}
    assert set(samples["label_source"].to_pylist()) == {"anchor"}
    cropped = samples.filter(pa.compute.equal(samples["strategy"], "crop"))["decoded"].to_pylist()
    for one in cropped:  # the walk goes on from what is left to what comes next
        places = [int(item[1:]) for item in [*one["items"], *one["targets"]]]
        assert all((b - a) % ITEMS == 1 for a, b in pairwise(places))


@pytest.mark.usefixtures("one_plain_model")
def test_beside_a_model_that_knows_less_the_teacher_labels(tmp_path):
    teachers = f'teachers = ["next-items"]\nteacher_options.next-items = {{ of = "{OF}", items = 2 }}'
    task, samples = published(tmp_path, 'model = "popular"', teachers)
    assert task["labels"].startswith("'next-items' labels: ndcg@20 +0.")
    assert set(samples["label_source"].to_pylist()) == {"next-items"}
    for one in samples["decoded"].to_pylist():
        assert 2 <= len(one["targets"]) <= 3
        assert not set(one["targets"]) & set(one["negatives"])
