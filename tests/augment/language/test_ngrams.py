"""Encoders joined with n-grams of a task's own texts: the vectors, and how a version's space is found again."""

from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nights import day
from ran import night, run
from sklearn.feature_extraction.text import HashingVectorizer

from augment.base.errors import BadInput, UsageError
from augment.language.encoders import Joined, TextEncoder, text_encoder
from augment.language.ngrams import Ngrams
from augment.publishing.dataset import Dataset
from augment.recipes import loading
from augment.recipes import schema as recipe
from augment.runs import rows, single, steps, version
from augment.runs import task as job
from consumers import open_mix

TEXTS = [
    "the dress is lovely and fits well", "a lovely skirt, the fabric is soft", "the zipper broke after a day",
    "cheap fabric and a broken zipper", "soft and lovely, fits well", "it broke, I sent the skirt back",
]  # fmt: skip


@pytest.mark.parametrize(
    "texts",
    [[], [""], ["a"], ["good"] * 7, TEXTS, ["ดีมาก", "很好看", "ok"], [f"{a} {b}" for a in TEXTS for b in TEXTS]],
)
def test_any_texts_give_unit_vectors_or_nothing_and_the_same_when_read_back(texts):
    made = Ngrams.fit(texts, 0)
    asked = [*texts, "", "zq", "lovely fabric", "🙂", "\ud800"]
    vectors = made.encode(asked)
    assert vectors.shape == (len(asked), made.dim)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
    again = Ngrams(made.content)
    assert again.name == made.name == Ngrams.fit(texts, 0).name
    np.testing.assert_array_equal(again.encode(asked), vectors)


def test_a_text_lies_by_its_misspelt_copy():
    made = Ngrams.fit(TEXTS, 0)
    text, copy, other = made.encode(["the zipper broke", "the zippper brok", "soft and lovely"])
    assert text @ copy > text @ other + 0.3


def test_a_script_without_spaces_is_counted_by_character():
    made = Ngrams.fit(["质量很好", "质量不好", "物流很快", "颜色不好看"], 0)
    good, fine, late = made.encode(["质量很好啊", "质量好", "物流快"])
    assert good @ fine > good @ late + 0.1


def test_more_texts_than_are_fitted_give_a_seeded_sample(monkeypatch):
    whole = Ngrams.fit(TEXTS, 0)
    monkeypatch.setattr("augment.language.ngrams.FIT_CHARACTERS", 110)
    assert len({Ngrams.fit(TEXTS, seed).name for seed in range(4)}) > 1
    part = Ngrams.fit(TEXTS, 1)
    assert 0 < part.dim < whole.dim
    assert part.texts == whole.texts == len(TEXTS)


def test_vectors_do_not_depend_on_batches(monkeypatch):
    made = Ngrams.fit(TEXTS, 0)
    whole = made.encode(TEXTS)
    monkeypatch.setattr("augment.language.ngrams.BATCH", 2)
    np.testing.assert_allclose(made.encode(TEXTS), whole, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no tensors", Ngrams.fit(TEXTS, 0).content[:200]])
def test_what_is_damaged_is_one_line(content):
    with pytest.raises(BadInput, match=r"place: not the n-grams of an encoder .*fit them anew"):
        Ngrams(content, "place")


def base(cache=None):
    """Character n-grams, hashed, in a sentence encoder's place: some hundred times as fast."""
    grams = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=48)
    return TextEncoder("hashed@1", 48, lambda texts: grams.transform(texts).toarray().astype(np.float32), cache)


def test_a_joined_vector_is_the_bases_beside_twice_the_ngrams():
    ngrams = Ngrams.fit(TEXTS, 0)
    joined = Joined(base(), ngrams)
    assert joined.name == f"hashed@1+{ngrams.name}"
    vectors = joined.encode([*TEXTS, "zqzqzq"])
    assert vectors.shape == (7, joined.dim) == (7, 48 + ngrams.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[:6, :48], base().encode(TEXTS) / np.sqrt(5), atol=1e-6)
    np.testing.assert_allclose(vectors[:6, 48:], 2 * ngrams.encode(TEXTS) / np.sqrt(5), atol=1e-6)
    np.testing.assert_allclose(vectors[6, :48], base().encode(["zqzqzq"])[0], atol=1e-6)  # no n-gram is known


def test_an_encoder_of_ngrams_needs_some():
    with pytest.raises(UsageError, match="'minilm\\+ngrams' is fitted on a task's own texts"):
        text_encoder("minilm+ngrams", None)


# -- runs and nights -------------------------------------------------------------------------------

RECIPE = """
name = "ngrams"
seed = 3
output = "{folder}/out"
[sources.rows]
path = "{folder}/raw/*.parquet"
columns = {{ id = "review_id", text = "text", label = "label", timestamp = "at" }}
split = {{ by = "random", valid = 0.2, test = 0.2 }}
[tasks.reviews]
consumer = "sentiment"
source = "rows"
encoder = "minilm+ngrams"
samples = 60
options = {{ C = 1.0, variants = 2, held_out = 2, attacked_rows = 20 }}
strategies = {{ gan = 1.0, typos = 1.0 }}
gates = {{ band = [-9, 9], min_plausibility = 0.0, min_label_agreement = 0.0 }}
generator = {{ anchors = 120, bank = 40, steps = 10, batch = 16, draws = 2 }}
verdict = {{ seeds = 1, draws = 100, clean = ["auc"], improve = ["auc"], tolerance = 1.0 }}
[nightly]
window_days = 6
min_free_gb = 0.0
refit_drift = 9.0
refit_days = 2
checks = {{ drift = {{ limit = 9, severity = "off" }} }}
"""


@pytest.fixture
def shop(demo_folder, tmp_path, monkeypatch):
    """A recipe, and what writes a day's reviews."""
    monkeypatch.setattr(
        "augment.contracts.modality.text_encoder", lambda _, cache, device, ngrams: Joined(base(cache), ngrams)
    )
    monkeypatch.setattr(
        "augment.language.encoders.text_encoder", lambda _, cache, device, ngrams: Joined(base(cache), ngrams)
    )
    rows = pq.read_table(demo_folder / "reviews.parquet").select(["review_id", "text", "label"])

    def write(number, count=150):
        (tmp_path / "raw").mkdir(exist_ok=True)
        start = datetime(*day(number).timetuple()[:3], tzinfo=timezone.utc).timestamp()
        times = pa.array((start + np.linspace(0, 86_000, count)).astype(np.int64))
        part = rows.slice(number * 150, count).append_column("at", times)
        pq.write_table(part, tmp_path / "raw" / f"{day(number)}.parquet")

    return loading.parse(RECIPE.format(folder=tmp_path), "ngrams.toml"), write


@pytest.mark.usefixtures("accepted")
def test_a_versions_space_is_found_again_and_goes_with_the_version(shop, tmp_path):
    made, write = shop
    write(0)
    write(1)
    result = run(made, device="cpu")["tasks"]["reviews"]
    assert result["status"] == "published"
    mix = open_mix(made.output, "reviews")
    encoder = mix.encoder()
    (name,) = mix.manifest.encoders
    assert encoder.name == name == result["encoder"]
    typed = mix.to_table().filter(pa.compute.field("strategy") == "typos")  # vectors of the very texts
    vectors = np.stack(typed["embedding"].to_pylist())
    np.testing.assert_allclose(encoder.encode(typed["decoded"].combine_chunks().field("text").to_pylist()), vectors)

    write(2)  # more rows would be another space, but what trains on the version stays in its own
    trained = single.train(made, "reviews", tmp_path / "model", device="cpu")
    assert trained["samples"] == len(mix)
    assert Ngrams((tmp_path / "model" / "ngrams.safetensors").read_bytes()).name == encoder.ngrams.name
    assert single.evaluate(made, "reviews", tmp_path / "model", device="cpu")["metrics"]["auc"]["value"] > 0.5

    run(made, device="cpu")
    dataset = Dataset(tmp_path / "out" / "reviews")
    kept = dataset.root / "_sparring" / "encoders"
    assert len(list(kept.glob("*.safetensors"))) == 2
    assert sum(path.parent == kept for path in dataset.gc(1)) == 1
    assert open_mix(made.output, "reviews").encoder().name != name
    (left,) = kept.glob("*.safetensors")
    left.write_bytes(left.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(BadInput, match="not what was published"):
        open_mix(made.output, "reviews").encoder()
    left.unlink()
    with pytest.raises(BadInput, match="missing; the version's vectors cannot be made again"):
        single.train(made, "reviews", tmp_path / "again", device="cpu")


def test_every_kind_of_strategy_for_reviews_works_in_the_joined_space(shop, tmp_path):
    made, write = shop
    write(0, 400)
    groups = tmp_path / "synonyms.tsv"
    groups.write_text("dress\tgown\nlove\tadore\ngreat\tgrand\nsize\tfit\nfabric\tcloth\ncolor\tshade\n")
    strategies = {"gan": 1.0, "typos": 1.0, "self-training": 1.0, "synonym": 1.0}
    task = made.tasks["reviews"].model_copy(update={
        "strategies": strategies, "samples": 80, "strategy_options": {"synonym": {"source": str(groups)}},
        "gates": recipe.Gates(band=(-4.0, 4.0)),
    })  # fmt: skip
    source = made.sources["rows"].model_copy(update={"labelled": 100})
    made = made.model_copy(update={"tasks": {"reviews": task}, "sources": {"rows": source}})
    found = run(made, device="cpu")["tasks"]["reviews"]
    assert {name: about["kept"] > 0 for name, about in found["strategies"].items()} == dict.fromkeys(strategies, True)
    assert found["rows"] > 40


@pytest.mark.usefixtures("accepted")
def test_samples_of_another_encoder_are_not_trained_on(shop, tmp_path, monkeypatch):
    made, write = shop
    write(0)
    run(made, device="cpu")
    monkeypatch.setattr("augment.contracts.modality.text_encoder", lambda *_: replaced())
    with pytest.raises(UsageError, match=r"made with encoder hashed@1\+ngrams@.*the recipe's is other@1"):
        single.train(made, "reviews", tmp_path / "model", device="cpu")


def replaced():
    encoder = base()
    encoder.name = "other@1"
    return encoder


@pytest.mark.usefixtures("accepted")
def test_nights_share_one_space_until_the_texts_have_doubled(shop, tmp_path):
    made, write = shop
    about, names = [], []
    for number, count in ((0, 150), (1, 100), (2, 40), (3, 400)):
        write(number, count)
        about.append(night(made, as_of=day(number), device="cpu")["tasks"]["reviews"]["night"])
        mix = open_mix(made.output, "reviews")
        names.append(set(mix.to_table()["encoder"].to_pylist()))
        assert names[-1] == set(mix.manifest.encoders) == {mix.encoder().name}
        assert Dataset(tmp_path / "out" / "reviews").verify() == []
    assert [a["refit"] for a in about] == [True, False, True, True]
    assert about[2]["why"] == "2 days old"  # a new generator, in the space of the nights that stay
    assert "where the encoder was fitted on" in about[3]["why"]
    assert names[0] == names[1] == names[2] != names[3]
    assert [a["days"] for a in about[1:]] == [
        [str(day(0)), str(day(1))], [str(day(0)), str(day(1)), str(day(2))], [str(day(3))]
    ]  # fmt: skip


@pytest.mark.usefixtures("accepted")
def test_a_space_that_is_gone_is_fitted_anew(shop, tmp_path):
    made, write = shop
    write(0)
    night(made, as_of=day(0), device="cpu")
    for path in (tmp_path / "out" / "reviews" / "_sparring" / "encoders").iterdir():
        path.unlink()
    write(1, 50)
    about = night(made, as_of=day(1), device="cpu")["tasks"]["reviews"]["night"]
    assert (about["refit"], about["why"], about["days"]) == (True, "the last one is damaged", [str(day(1))])


@pytest.mark.usefixtures("accepted")
def test_a_run_that_was_killed_goes_on_in_its_space(shop, monkeypatch):
    made, write = shop
    write(0)
    with monkeypatch.context() as patch:
        patch.setattr(version, "judge", killed)
        with pytest.raises(KeyboardInterrupt):
            run(made, device="cpu")
    monkeypatch.setattr(Ngrams, "fit", killed)  # on another machine it might fit another space
    assert run(made, device="cpu")["tasks"]["reviews"]["status"] == "published"
    assert open_mix(made.output, "reviews").encoder().name.startswith("hashed@1+ngrams@")


def killed(*_):
    raise KeyboardInterrupt


def test_ngrams_see_training_texts_alone(shop, monkeypatch):
    made, write = shop
    write(0)
    seen, fit = [], Ngrams.fit
    monkeypatch.setattr(Ngrams, "fit", lambda texts, seed: seen.extend(texts) or fit(texts, seed))
    opened = job.Job(made, "reviews", "cpu")
    with steps.work_folder(opened) as work:
        material = rows.read(opened, work)
    assert sorted(seen) == sorted(material.arena.train["text"].to_pylist())
    for held_out in (material.arena.valid, material.arena.test):
        assert not set(seen) & set(held_out["text"].to_pylist())
