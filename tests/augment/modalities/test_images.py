"""Pictures as rows: real edits in the place of moves, published as what they are."""

import base64
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from drawn import KINDS, drawn_bytes

from augment.base.errors import UsageError
from augment.contracts.tally import Tally
from augment.contracts.values import Bank
from augment.modalities.images import EXAMPLES, Images
from augment.pictures.decoding import as_jpeg, decoded
from augment.pictures.edits import FAMILIES
from augment.recipes.schema import Recipe
from augment.runs.task import Job
from augment.testing.data import glimpses
from augment.testing.shop import usual

COUNT, VARIANTS = 24, 6


@pytest.fixture(scope="module")
def images():
    return Images(glimpses())


@pytest.fixture(scope="module")
def anchors(images):
    pictures = [drawn_bytes(KINDS[n % 3], n, (40, 48)) for n in range(COUNT)]
    return images.attach(pa.table({"row_id": [f"r{n}" for n in range(COUNT)], "image": pictures}))


@pytest.fixture(scope="module")
def bank(images, anchors):
    every = np.arange(COUNT)
    copies = images.perturb(anchors.take(pa.array(np.repeat(every, VARIANTS))), np.random.default_rng(0))
    return Bank(every, VARIANTS, copies, images.encode(copies), images.encode(anchors), "cpu")


def test_its_families_are_the_edits_of_pictures():
    assert Images.perturbations.keys() == FAMILIES.keys()


def test_a_blend_has_every_family_and_a_kind_is_of_one(images, anchors, bank):
    assert set(bank.rows["edit"].to_pylist()) == set(FAMILIES)
    assert set(images.perturb(anchors, np.random.default_rng(0), "blur")["edit"].to_pylist()) == {"blur"}


def lengths(images, anchors, bank, steps):
    rows, vectors = images.decode(images.encode(anchors) + steps, anchors, bank, np.random.default_rng(5))
    return rows, np.linalg.norm(vectors - images.encode(anchors), axis=1)


def test_a_longer_move_is_a_stronger_edit_and_no_move_is_none(images, anchors, bank):
    steps = bank.displacements[:, 0]
    still, none = lengths(images, anchors, bank, 0 * steps)
    assert still["image"].equals(anchors["image"])
    assert not none.any()
    means = [lengths(images, anchors, bank, share * steps)[1].mean() for share in (0.4, 0.8, 1.4)]
    assert means == sorted(means)
    assert means[0] > 0


def test_a_move_is_decoded_to_the_family_that_it_is_like(images, anchors, bank, monkeypatch):
    """Each real displacement points most nearly where itself does."""
    chosen = []
    for name, edit in FAMILIES.items():
        monkeypatch.setitem(FAMILIES, name, lambda *given, name=name, edit=edit: (chosen.append(name), edit(*given))[1])
    lengths(images, anchors, bank, bank.displacements[:, 2])
    assert chosen == bank.rows["edit"].to_pylist()[2::VARIANTS]


def test_the_bank_s_own_edit_is_done_again(images, anchors, bank):
    """With its seed, as strong as the move is long beside its family's."""
    rows, _ = lengths(images, anchors, bank, bank.displacements[:, 2])
    edits = bank.rows.slice(2).take(pa.array(np.arange(COUNT) * VARIANTS)).to_pylist()
    usual = {edit: [] for edit in FAMILIES}
    for edit, step in zip(bank.rows["edit"].to_pylist(), bank.displacements.reshape(-1, images.dim), strict=True):
        usual[edit].append(np.linalg.norm(step))
    moved = np.linalg.norm(bank.displacements[:, 2], axis=1)
    for made, edit, picture, length in zip(
        rows["image"].to_pylist(), edits, anchors["image"].to_pylist(), moved, strict=True
    ):
        found = [step for step in usual[edit["edit"]] if step]
        strength = np.clip(0.5 * (length / np.mean(found)) ** 2, 0.05, 1)
        again = FAMILIES[edit["edit"]](decoded(picture), np.random.default_rng(edit["seed"]), strength)
        assert (decoded(made).float() - decoded(as_jpeg(again)).float()).abs().mean() < 1  # the strength is rounded


def test_a_bank_that_moved_nothing_leaves_pictures_as_they_are(images, anchors, bank):
    still = Bank(bank.anchor, VARIANTS, bank.rows, np.repeat(bank.origin, VARIANTS, axis=0), bank.origin, "cpu")
    rows, vectors = images.decode(images.encode(anchors) + 1, anchors, still, np.random.default_rng(0))
    assert rows["image"].equals(anchors["image"])
    assert np.array_equal(vectors, images.encode(anchors))


@pytest.mark.parametrize("strategy", ["noise", "occlusion", "gaussian", "mixup", "fgm", "gan"])
def test_samples_are_pictures_with_their_true_vectors(strategy, tmp_path, monkeypatch):
    shop = usual(Images)
    monkeypatch.setattr(shop.studio, "workshop", replace(shop.studio.workshop, folder=tmp_path))
    samples = pa.concat_tables(shop.studio.samples(strategy, 20, Tally(), 3))
    assert len(samples) == 20
    pictures = [row["image"] for row in samples["decoded"].to_pylist()]
    real = set(shop.rows["image"].to_pylist())
    assert all(decoded(picture).shape == (3, 32, 32) for picture in pictures)
    assert not real & set(pictures)
    vectors = np.stack(samples["embedding"].to_pylist())
    np.testing.assert_allclose(vectors, shop.studio.modality.encode(pa.table({"image": pictures})), atol=1e-5)
    assert len(set(samples["sample_id"].to_pylist())) == 20


def test_a_few_samples_are_shown_beside_their_anchors():
    shop = usual(Images)
    tables = [pa.concat_tables(shop.studio.samples(name, 10, Tally(), 3)) for name in ("crop", "light")]
    samples = pa.concat_tables(tables)
    assert Images.examples(samples.slice(0, 0), [shop.real.train]) == []
    found = Images.examples(samples, [shop.real.train, shop.real.unlabelled])
    assert [one["strategy"] for one in found] == ["crop", "light"] * (EXAMPLES // 2)
    pictures = dict(zip(shop.rows["row_id"].to_pylist(), shop.rows["image"].to_pylist(), strict=True))
    first = samples.slice(0, 1).to_pylist()[0]
    for key, picture in (("before", pictures[first["anchor_id"]]), ("after", first["decoded"]["image"])):
        small = decoded(base64.b64decode(found[0][key]))
        assert max(small.shape) <= 96
        assert (small.float() - decoded(picture).float()).abs().mean() < 6


def recipe(folder, **task):
    return Recipe.model_validate(
        {
            "name": "shop",
            "output": str(folder / "out"),
            "sources": {"photos": {"path": str(folder / "a.jsonl"), "columns": {"image": "photo", "label": "y"}}},
            "tasks": {
                "kinds": {
                    "consumer": "pictured",
                    "source": "photos",
                    "samples": 1,
                    "strategies": {"noise": 1},
                    "verdict": {"clean": ["auc"], "improve": ["auc"]},
                    **task,
                }
            },
        }
    )


@pytest.fixture
def pictured(monkeypatch, tmp_path):
    """A consumer of pictures that nobody trains."""
    from augment.runs import task

    consumer = type("Pictured", (), {"modality": "images", "metrics": {"auc": "higher"}, "baselines": {}})
    monkeypatch.setattr(task, "consumer_class", lambda _: consumer)
    monkeypatch.setattr(task, "check_metrics", lambda *_: None)
    monkeypatch.setattr(task.Job, "make_with", lambda *_: None)
    (tmp_path / "a.jsonl").write_text(json.dumps({"photo": "", "y": 1}), "utf-8")
    return tmp_path


def test_a_task_of_pictures_has_an_encoder_of_pictures(pictured):
    job = Job(recipe(pictured), "kinds", "cpu")
    assert job.settings["task"]["encoder"] == "efficientnet-lite0"
    assert job.encoder(()).name.startswith("efficientnet-lite0@")
    with pytest.raises(UsageError, match=r"^tasks\.kinds\.encoder: no image encoder 'minilm': give"):
        Job(recipe(pictured, encoder="minilm"), "kinds", "cpu")
