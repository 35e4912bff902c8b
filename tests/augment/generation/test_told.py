"""What a copy hides its teacher is told: its label is that of the whole row, and it is as hard as what it shows."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from augment.contracts.values import Anchors, Bank, Candidates
from augment.gates.keeper import Gatekeeper
from augment.generation.maker import _one_per_anchor
from augment.modalities.fields import Fields
from augment.recipes.schema import Gates

OPEN = Gates(min_plausibility=0.0, min_label_agreement=0.0, min_novelty=0.0)


class Undecided:
    """A victim that says one half of every row."""

    dim, prior = 4, 0.0

    def loss(self, embedding, condition):
        return torch.full((len(embedding),), float(np.log(2)))


RATE = {"red": 0.9, "blue": 0.2, None: 0.99}


class NeverSawAGap:
    """A teacher that knows the colour's rate, is sure of it, and of a row without one says .99, unsurely."""

    called = "never saw a gap"

    def label(self, candidates):
        colours = candidates.rows["colour"].to_pylist()
        assert np.array_equal(candidates.embedding, MODALITY.encode(candidates.rows))  # those of the rows it is asked
        label = np.array([RATE[colour] for colour in colours], np.float32)
        spread = np.array([0.0 if colour else 0.6 for colour in colours], np.float32)
        return replace(candidates, label=label, spread=spread)


ROWS = pa.table({
    "row_id": [f"r{i}" for i in range(12)],
    "colour": pa.array(["red", "blue", None, "red", "blue", "red"] * 2, pa.string()),
    "size": ["S", "L"] * 6,
    "label": [1.0, 0.0] * 6,
})  # fmt: skip
MODALITY = Fields(
    {
        "colour": (["", "red", "blue"], np.array([[0, 0], [1, 0], [0, 1]], np.float32)),
        "size": (["", "S", "L"], np.array([[0, 0], [2, 0], [0, 2]], np.float32)),
    },
    ROWS,
)


def judged(anchor, colours, sizes, gates=OPEN):
    """Copies of those anchors with these fields, by the gates and a teacher."""
    label = ROWS["label"].to_numpy().astype(np.float32)
    embedding = MODALITY.encode(ROWS)
    validity = MODALITY.validity(ROWS, embedding, gates, 0, NeverSawAGap())
    anchors = Anchors(ROWS, embedding, label, MODALITY.describe(ROWS, label, np.random.default_rng(0)), "cpu")
    bank = Bank(np.arange(12), 1, ROWS, embedding, embedding, "cpu")
    rows = ROWS.take(pa.array(anchor))
    for name, values in (("colour", colours), ("size", sizes)):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, pa.string()))
    return Gatekeeper(anchors, bank, validity, Undecided(), gates).judge(
        Candidates(np.array(anchor), rows, MODALITY.encode(rows)), novel=False
    )


def bits(p):
    """KL(p ‖ one half), in nats."""
    return np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p)


@pytest.mark.parametrize(
    ("copy", "anchor", "told"),
    [
        (None, "red", "red"),  # masked
        ("blue", "red", "blue"),  # swapped
        ("red", "red", "red"),
        ("red", None, "red"),
        (None, None, None),  # missing in the anchor too
        (None, "mauve", "mauve"),  # of no vector, but known
    ],
)
def test_a_gap_is_filled_from_the_anchor_and_nothing_else_is(copy, anchor, told):
    one, whole = (pa.table({"row_id": ["r"], "colour": pa.array([v], pa.string()), "size": pa.array(["S"])})
                  for v in (copy, anchor))  # fmt: skip
    found = MODALITY.told(one, whole)
    assert found.to_pylist() == [{"row_id": "r", "colour": told, "size": "S"}]


def test_what_is_published_is_the_label_of_the_whole_row_and_the_copy_as_it_is():
    found = judged([0, 1, 0], [None, None, "blue"], ["S", "L", None])
    np.testing.assert_allclose(found.candidates.label, [0.9, 0.2, 0.2])  # red, blue, and blue by a swap
    np.testing.assert_allclose(found.candidates.spread, [0, 0, 0])
    np.testing.assert_allclose(found.agreement, [1, 1, 1])
    assert found.candidates.rows["colour"].to_pylist() == [None, None, "blue"]
    assert found.candidates.rows["size"].to_pylist() == ["S", "L", None]
    np.testing.assert_array_equal(found.candidates.embedding, MODALITY.encode(found.candidates.rows))


def test_what_the_anchor_lacks_the_teacher_does_not_know():
    sure = OPEN.model_copy(update={"min_label_agreement": 0.5})
    found = judged([2, 0], [None, None], ["S", "S"], sure)
    np.testing.assert_allclose(found.candidates.label, [0.99, 0.9])
    assert (found.refused >= 0).tolist() == [True, False]  # its members differ about the first alone


def test_how_hard_a_copy_is_goes_by_what_it_shows():
    found = judged([0, 1], [None, "red"], ["S", "L"])
    np.testing.assert_allclose(found.hardness, [bits(0.99), bits(0.9)], rtol=1e-5)


def kept(colours, refused=()):
    """The colour of the copy that is kept of red row 0, where those at `refused` did not pass."""
    found = judged([0] * len(colours), colours, ["S"] * len(colours))
    found.refused[list(refused)] = 0
    gaps = MODALITY.gaps(found.candidates.rows, ROWS.take(pa.array(found.candidates.anchor)))
    assert gaps.tolist() == [colour is None for colour in colours]
    (colour,) = _one_per_anchor(found, gaps).candidates.rows["colour"].to_pylist()
    return colour


@pytest.mark.parametrize(
    ("colours", "refused", "wanted"),
    [
        (["blue", "red"], [], "red"),  # .9 is further from the victim's one half than .2
        (["red", "blue"], [], "red"),
        (["blue", "red", None], [], "red"),  # harder than both, but not the first
        ([None, "red", "blue"], [], None),  # the first, and so as often as gaps come
        (["blue", None, None], [], "blue"),
        ([None, "blue", "red"], [0], "red"),
        (["red", None, "blue"], [0], None),
    ],
)
def test_no_gap_is_kept_for_its_hardness(colours, refused, wanted):
    assert kept(colours, refused) == wanted


def test_where_an_anchor_lacks_a_field_too_its_copy_has_no_gap():
    rows, anchors = ROWS.take(pa.array([2, 0])), ROWS.take(pa.array([2, 2]))
    assert MODALITY.gaps(rows, anchors).tolist() == [False, False]
    assert MODALITY.gaps(anchors, rows).tolist() == [False, True]
