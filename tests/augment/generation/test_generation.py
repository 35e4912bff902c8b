"""Gates, label validity and the sample loop on a small two-class problem whose answers are known."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from augment.base.errors import BadInput
from augment.contracts.strategy import Workshop, build
from augment.contracts.values import Anchors, Candidates
from augment.gates.keeper import REASONS, Gatekeeper
from augment.gates.labels import FOLDS, LabelValidity, of_each
from augment.gates.rankings import RankingValidity
from augment.generation.maker import Maker, Tally
from augment.generation.studio import build_bank
from augment.modalities.fields import Fields
from augment.recipes.schema import Gates, Generator

LEVELS = [str(v) for v in range(12)]


class Sum:
    """The victim: the click is likely where the first field's number is high."""

    dim, prior = 4, 0.0

    def loss(self, embedding, condition):
        logit = 4 * embedding[:, 0]
        softplus = torch.nn.functional.softplus
        return condition.label * softplus(-logit) + (1 - condition.label) * softplus(logit)


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    place = np.linspace(-1, 1, 12)
    tables = {
        name: (["", *LEVELS], np.vstack([[0, 0], np.stack([place, noise], 1)]).astype(np.float32))
        for name, noise in (("a", rng.random(12) / 10), ("b", rng.random(12) / 10))
    }
    first, second = rng.integers(12, size=600), rng.integers(12, size=600)
    label = (place[first] + 0.3 * rng.standard_normal(600) > 0).astype(np.float32)
    rows = pa.table(
        {
            "row_id": [f"r{i}" for i in range(600)],
            "a": [LEVELS[i] for i in first],
            "b": [LEVELS[i] for i in second],
            "label": label,
        }
    )
    modality = Fields(tables, rows)
    embedding = modality.encode(rows)
    validity = LabelValidity(embedding, np.where(np.arange(600) < 500, label, np.nan), seed=0)
    anchors = Anchors(rows, embedding, validity.label, modality.describe(rows, validity.label, rng), "cpu")
    bank = build_bank(anchors, modality, 100, 4, rng)
    return modality, anchors, bank, validity


def keeper(shop, **gates):
    _, anchors, bank, validity = shop
    return Gatekeeper(anchors, bank, validity, Sum(), Gates(**gates))


def reasons(judged):
    return [REASONS[code] if code >= 0 else "passed" for code in judged.refused]


def test_real_perturbations_are_as_plausible_as_the_threshold_says(shop):
    bank = shop[2]
    gatekeeper = keeper(shop, min_plausibility=0.1)
    candidates = Candidates(np.repeat(bank.anchor, 4), bank.rows, bank.embedding)
    judged = gatekeeper.judge(candidates)
    assert (judged.plausibility < 0.1).mean() == pytest.approx(0.1, abs=0.06)


def test_each_gate_refuses_what_it_is_for(shop):
    _, anchors, _, _ = shop
    at = np.array([0, 0, 0])
    rows = anchors.rows.take(pa.array(at))
    broken, far, copy = (np.array(v, np.float32) for v in ([np.nan] * 4, [50] * 4, anchors.embedding[0]))
    judged = keeper(shop, min_label_agreement=0).judge(Candidates(at, rows, np.stack([broken, far, copy])))
    assert reasons(judged) == ["not finite", "implausible", "not novel"]


def test_the_band_is_one_of_margins(shop):
    _, anchors, _, _ = shop
    sure = int(np.flatnonzero((anchors.label == 1) & (anchors.embedding[:, 0] > 0.9))[0])
    moved = np.tile(anchors.embedding[sure], (3, 1))
    moved[:, 0] = [1.0, 0.2, -1.0]  # logits 4, .8 and −4
    moved[:, 1] += 0.05
    gates = {"min_plausibility": 0, "min_label_agreement": 0, "min_novelty": 0, "band": (-0.5, 1.5)}
    judged = keeper(shop, **gates).judge(Candidates(np.full(3, sure), anchors.rows.take(pa.array([sure] * 3)), moved))
    assert reasons(judged) == ["too easy", "passed", "too hard"]
    np.testing.assert_allclose(judged.hardness, np.log1p(np.exp(-np.array([4, 0.8, -4]))), rtol=1e-4)


def test_agreement_is_judged_by_models_that_never_saw_the_anchor(shop):
    _, anchors, _, validity = shop
    here = np.arange(500)
    rows = anchors.rows.take(pa.array(here))
    stayed = validity.agreement(Candidates(here, rows, anchors.embedding[here]))
    np.testing.assert_allclose(stayed, 1, atol=1e-6)
    mirrored = anchors.embedding[here] * np.array([-1, 1, 1, 1], np.float32)
    extreme = np.abs(anchors.embedding[here, 0]) > 0.8
    assert validity.agreement(Candidates(here, rows, mirrored))[extreme].max() < 0.3
    # A sample whose label was mirrored with it is right again.
    relabelled = Candidates(here, rows, mirrored, 1 - anchors.label[here])
    assert np.median(validity.agreement(relabelled)[extreme]) > 0.7


def test_an_anchors_own_label_does_not_reach_its_judge(shop):
    _, anchors, _, _ = shop
    label = np.where(np.arange(600) < 500, anchors.label, np.nan)
    label = np.where(np.isfinite(label), (label > 0.5).astype(float), np.nan)
    flipped = label.copy()
    flipped[7] = 1 - flipped[7]
    before, after = (LabelValidity(anchors.embedding, y, seed=0)._anchor[7] for y in (label, flipped))
    assert abs(before - after) < 0.02  # only through the regularisation strength, which is chosen on all rows


def test_unlabelled_anchors_get_soft_labels_that_follow_the_truth(shop):
    _, anchors, _, validity = shop
    soft = validity.label[500:]
    assert ((soft > 0) & (soft < 1)).all()
    assert np.corrcoef(soft, anchors.embedding[500:, 0])[0, 1] > 0.8


def test_one_class_is_refused():
    with pytest.raises(BadInput, match="of each class"):
        LabelValidity(np.random.default_rng(0).random((50, 3)), np.ones(50), seed=0)


def maker(shop, hardest=False, **gates):
    modality, anchors, _, validity = shop
    gates = {"band": (-3, 3), "min_label_agreement": 0.5, **gates}
    return Maker("ctr", "run", "all", (), 0.5, hardest, modality, anchors, validity, keeper(shop, **gates))


def workshop(shop, tmp_path):
    modality, anchors, bank, _ = shop
    settings = Generator(steps=20, batch=32, draws=4)
    return Workshop(modality, anchors, bank, Sum(), (-3, 3), settings, tmp_path, seed=0)


@pytest.mark.parametrize("strategy", ["noise", "gan"])
def test_samples_carry_their_scores_and_a_seed_repeats_them(shop, tmp_path, strategy):
    def made(folder):
        folder.mkdir()
        tally = Tally()
        tables = maker(shop).samples(strategy, build(strategy, workshop(shop, folder), {}), 80, 3, tally)
        return pa.concat_tables(tables), tally

    table, tally = made(tmp_path / "one")
    again, _ = made(tmp_path / "two")
    assert table.equals(again)
    assert len(table) == tally.kept == 80
    assert len(set(table["sample_id"].to_pylist())) == 80
    anchors = set(shop[1].rows["row_id"].to_pylist())
    for row in table.slice(0, 50).to_pylist():
        assert row["anchor_id"] in anchors
        assert set(row["neighbour_ids"]) <= anchors
        assert 0.05 <= row["plausibility"] <= 1
        assert row["label_agreement"] >= 0.5
        assert row["novelty"] >= 1e-4
        assert np.log1p(np.exp(-3)) - 1e-4 <= row["hardness"] <= np.log1p(np.exp(3)) + 1e-4
        assert set(row["decoded"]) == {"a", "b"}
    decoded = pa.Table.from_struct_array(table["decoded"].combine_chunks())
    vectors = np.stack(table["embedding"].to_pylist())
    np.testing.assert_allclose(shop[0].encode(decoded), vectors, atol=1e-6)


def test_keeping_the_hardest_makes_harder_samples(shop, tmp_path):
    noise = build("noise", workshop(shop, tmp_path), {})
    means, gaps = [], []
    for hardest in (False, True):
        made = pa.concat_tables(maker(shop, hardest, min_novelty=0).samples("noise", noise, 150, 0, Tally()))
        fields = made["decoded"].combine_chunks().flatten()
        gap = np.any([field.is_null().to_numpy(zero_copy_only=False) for field in fields], axis=0)
        means.append(made["hardness"].to_numpy()[~gap].mean())
        gaps.append(gap.mean())
    assert means[1] > means[0] + 0.03
    assert abs(gaps[1] - gaps[0]) < 0.05  # of those with gaps any is kept


def test_gates_that_nothing_passes_end_after_a_few_passes(shop, tmp_path):
    tally = Tally()
    made = list(
        maker(shop, band=(50, 60)).samples("noise", build("noise", workshop(shop, tmp_path), {}), 100, 0, tally)
    )
    assert not made
    assert tally.kept == 0
    assert tally.refused["too hard"] > 0.3 * tally.proposed


@pytest.fixture
def users():
    """Two groups of users: an item of the own group is a likely interest, one of the other group a safe negative."""
    rng = np.random.default_rng(0)
    histories = [sorted({f"i{i + 20 * (u % 2):02}" for i in rng.choice(20, 12)}) for u in range(60)]
    lists = pa.list_(pa.string())
    return pa.table(
        {
            "row_id": [str(u) for u in range(60)],
            "items": pa.array(histories, lists),
            "targets": pa.array(histories, lists),
            "negatives": pa.array(
                [[i for i in (f"i{n:02}" for n in range(40)) if i not in h] for h in histories], lists
            ),
        }
    )


def test_false_negatives_are_dropped_from_a_users_negatives(users):
    validity = RankingValidity(users, false_negative_share=0.3, seed=0)
    kept, dropped = validity.filter(np.arange(60), users)
    before = sum(map(len, users["negatives"].to_pylist()))
    assert dropped == before - sum(map(len, kept["negatives"].to_pylist())) > 0
    for user, negatives in enumerate(kept["negatives"].to_pylist()):
        other = [n for n in negatives if (int(n[1:]) >= 20) != bool(user % 2)]
        assert len(other) > 0.9 * len(negatives) > 0


def test_own_items_take_no_place_among_the_likeliest(users):
    """However long a history is, and whatever a sample adds to the targets, as many of the other items are refused."""
    more = pa.array([[*row["targets"], row["negatives"][0]] for row in users.to_pylist()], users["targets"].type)
    rows = users.set_column(users.column_names.index("targets"), "targets", more)
    validity = RankingValidity(users, false_negative_share=0.1, seed=0)
    kept, kept_of_more = (validity.filter(np.arange(60), one)[0]["negatives"].to_pylist() for one in (users, rows))
    for before, after, after_more in zip(users["negatives"].to_pylist(), kept, kept_of_more, strict=True):
        assert len(before) - len(after) == 4
        assert after_more == [item for item in after if item != before[0]]  # which is a target now


def test_a_negative_that_no_anchor_has_is_kept(users):
    rows = users.set_column(3, "negatives", pa.array([["new"]] * 60, users["negatives"].type))
    assert RankingValidity(users, false_negative_share=0.1, seed=0).filter(np.arange(60), rows)[1] == 0


def test_a_class_of_five_rows_in_one_fold_is_dealt_out():
    rng = np.random.default_rng(0)
    label, embedding = np.zeros(200), rng.standard_normal((200, 3)).astype(np.float32)
    dealt = np.random.default_rng(0).permutation(200) % FOLDS  # as the validity's own folds are
    label[np.flatnonzero(dealt == 2)[:FOLDS]] = 1
    validity = LabelValidity(embedding, label, seed=0)
    assert set(validity._fold[label == 1]) == set(range(FOLDS))
    assert np.isfinite(validity._anchor).all()


def test_a_rare_class_is_in_the_rows_that_models_are_fitted_on(monkeypatch):
    monkeypatch.setattr("augment.gates.labels.FIT_ROWS", 30)
    rng = np.random.default_rng(0)
    label, embedding = np.zeros(3000), rng.standard_normal((3000, 3)).astype(np.float32)
    label[rng.choice(3000, FOLDS, replace=False)] = 1
    assert np.isfinite(LabelValidity(embedding, label, seed=0)._anchor).all()


def test_places_of_a_rare_class_are_added():
    classes = np.arange(100) >= 93
    chosen = of_each(np.arange(10), np.arange(100), classes)
    assert classes[chosen].sum() == FOLDS
    assert len(set(chosen.tolist())) == 10 + FOLDS
