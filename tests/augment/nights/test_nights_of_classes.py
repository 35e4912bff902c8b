"""Nights of labels of many classes: pictures in a folder that grows, and texts; the next day reads them again."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import KINDS, drawn_bytes
from nights import day
from ran import night

from augment.modalities.images import Images
from augment.modalities.text import Text
from augment.pictures import decoding
from augment.pictures.decoding import DAMAGED
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.testing.data import glimpses, trigrams
from consumers import open_mix

RECIPE = """
name = "kinds"
seed = 5
output = "{folder}/out"
[sources.rows]
path = "{folder}/raw/*.parquet"
columns = {{ id = "row", {content}, label = "kind", timestamp = "at" }}
classes = ["shirt", "shoe", "bag"]
split = {{ by = "random", valid = 0.2, test = 0.3 }}
max_bad_share = 0.2
{source}
[tasks.kinds]
source = "rows"
samples = 40
strategies = {{ gan = 0.5, noise = 0.5 }}
gates = {{ band = [-20, 20], min_plausibility = 0.0, min_label_agreement = 0.0 }}
generator = {{ bank = 30, variants = 2, steps = 5, batch = 16, draws = 2, neighbours = 4 }}
verdict = {{ seeds = 1, draws = 100, clean = ["accuracy"], improve = ["accuracy_pool"], tolerance = 1.0 }}
{task}
[nightly]
window_days = 6
min_free_gb = 0.0
refit_drift = 9.0
checks = {{ drift = {{ limit = 9, severity = "off" }}, alarms = {{ limit = 9, severity = "off" }} }}
"""
PICTURES = {
    "content": 'image = "photo"',
    "source": 'images = "{folder}/photos"',
    "task": 'consumer = "image"\noptions = { C = 3.0, attacked_rows = 6 }',
}
TEXTS = {
    "content": 'text = "words"',
    "source": "",
    "task": """consumer = "category"
encoder = "minilm"
options = { C = 3.0, attacked_rows = 10, variants = 1, held_out = 1 }""",
}
WORDS = {"shirt": "sleeves collar", "shoe": "sole laces", "bag": "strap zip"}

pytestmark = pytest.mark.usefixtures("accepted")


@pytest.fixture(autouse=True)
def _light(monkeypatch):
    """Encoders of no weight."""
    monkeypatch.setattr(Images, "encoder_of", classmethod(lambda cls, *given: glimpses()))
    monkeypatch.setattr(Text, "encoder_of", classmethod(lambda cls, *given: trigrams([])))


def shop(folder, of):
    text = RECIPE.format(folder=folder, **{name: value.replace("{folder}", str(folder)) for name, value in of.items()})
    return loading.parse(text, "kinds.toml")


def log(folder, number, **columns):
    """The day's file of `columns`, of 48 rows each, of all kinds in turn."""
    (folder / "raw").mkdir(exist_ok=True)
    count, first = 48, 86_400 * (day(number).toordinal() - 719_163)
    names = [f"{number}-{n}" for n in range(count)]
    times = np.linspace(first, first + 80_000, count).astype(np.int64)
    kinds = [KINDS[n % 3] for n in range(count)]
    pq.write_table(
        pa.table({"row": names, "kind": kinds, "at": times, **columns}), folder / "raw" / f"{day(number)}.parquet"
    )


def photos(folder, number, damaged=(), held="paths"):
    """The day's pictures, of which some are damaged, and its file of their paths, or of the pictures themselves."""
    (folder / "photos" / f"day{number}").mkdir(parents=True)
    paths, contents = [f"day{number}/{n}.jpg" for n in range(48)], []
    for n, path in enumerate(paths):
        content = drawn_bytes(KINDS[n % 3], 100 * number + n, (48, 60))
        contents.append(content[:200] if n in damaged else content)
        (folder / "photos" / path).write_bytes(contents[-1])
    log(folder, number, photo=paths if held == "paths" else pa.array(contents, pa.binary()))


def texts(folder, number):
    rng = np.random.default_rng(number)
    log(folder, number, words=[f"{WORDS[KINDS[n % 3]]} {rng.integers(1_000_000)}" for n in range(48)])


@pytest.mark.parametrize("held", ["paths", "bytes"])
def test_nights_of_pictures_take_new_files_and_leave_a_damaged_one_out(tmp_path, held, monkeypatch):
    decoded, usual = [], decoding.PICTURES
    counting = replace(usual, made=lambda file: (decoded.append(file), usual.made(file))[1])
    monkeypatch.setattr(Images, "files", classmethod(lambda cls, encoder: counting))
    wanted = shop(tmp_path, PICTURES if held == "paths" else PICTURES | {"source": ""})
    photos(tmp_path, 0, held=held)
    first = night(wanted, as_of=day(0), device="cpu")["tasks"]["kinds"]
    assert first["status"] == "published", first["reason"]
    assert len(decoded) == 48
    decoded.clear()
    photos(tmp_path, 1, damaged=[7], held=held)
    second = night(wanted, as_of=day(1), device="cpu")["tasks"]["kinds"]
    assert second["status"] == "published", second["reason"]
    assert second["quarantine"] == {DAMAGED: 1}
    assert len(decoded) == 48  # the day's; those of the day before are known
    assert sum(second["real_rows"].values()) == 95
    table = Dataset(tmp_path / "out" / "kinds")
    assert table.verify() == []
    samples = open_mix(tmp_path / "out", "kinds").to_table()
    assert {str(day(0)), str(day(1))} == set(samples["day"].to_pylist())
    assert np.array(samples["label"].to_pylist()).shape == (len(samples), 3)
    assert second["night"]["hardness_of_yesterdays_samples"] >= 0
    assert {"image", "label"} <= set(second["night"]["drift"])


def test_nights_of_texts_use_their_fit_again(tmp_path):
    texts(tmp_path, 0)
    night(shop(tmp_path, TEXTS), as_of=day(0), device="cpu")
    texts(tmp_path, 1)
    done = night(shop(tmp_path, TEXTS), as_of=day(1), device="cpu")["tasks"]["kinds"]
    assert done["status"] == "published", done["reason"]
    assert (done["night"]["refit"], done["night"]["why"]) == (False, f"that of {day(0)}")
    samples = open_mix(tmp_path / "out", "kinds").to_table()
    assert {str(day(0)), str(day(1))} == set(samples["day"].to_pylist())
    assert Dataset(tmp_path / "out" / "kinds").verify() == []


def test_after_a_change_of_classes_earlier_nights_and_their_fit_go(tmp_path):
    """The same list in another order is other labels."""
    texts(tmp_path, 0)
    night(shop(tmp_path, TEXTS), as_of=day(0), device="cpu")
    for number, classes in ((1, ["bag", "shoe", "shirt"]), (2, ["bag", "shoe", "shirt", "hat"])):
        texts(tmp_path, number)
        wanted = shop(tmp_path, TEXTS)
        source = wanted.sources["rows"].model_copy(update={"classes": classes})
        done = night(wanted.model_copy(update={"sources": {"rows": source}}), as_of=day(number), device="cpu")
        facts = done["tasks"]["kinds"]["night"]
        assert (facts["days"], facts["why"]) == ([str(day(number))], "other settings")
        samples = open_mix(tmp_path / "out", "kinds").to_table()
        assert {len(label) for label in samples["label"].to_pylist()} == {len(classes)}
    assert Dataset(tmp_path / "out" / "kinds").verify() == []
