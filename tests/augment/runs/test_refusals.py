"""A refusal says which gate stopped how many, by how far, and what would let them through."""

import json
import re
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ran import run as ran

from augment.base.errors import Refused
from augment.contracts.check import checks_of
from augment.contracts.tally import SAMPLED, Stopped, Tally, rounded
from augment.numeric.vectors import losses_to_margins, margins_to_losses
from augment.recipes import loading
from augment.recipes.schema import Gates, Limit
from augment.runs import rounds, single, version
from augment.search import search

RECIPE = """
name = "clicks"
output = "{folder}/{out}"
[sources.log]
path = "{folder}/log.parquet"
columns = {{ label = "click", fields = ["colour", "size", "page"] }}
[tasks.clicks]
consumer = "ctr"
source = "log"
options = {{ model = "logistic", epochs = 1, weight_decay = 0.1, attacked_rows = 50, min_count = 1 }}
samples = 60
strategies = {{ {strategies} }}
gates = {{ {gates} }}
generator = {{ bank = 40, steps = 2, batch = 16, draws = 4, rounds = {rounds} }}
verdict = {{ seeds = 1, draws = 100, tolerance = 1.0, clean = ["auc"], improve = ["auc_masked"] }}
"""


@pytest.fixture
def clicks(tmp_path, monkeypatch):
    """Recipes on 400 clicks; of the plain models only the fastest is a baseline."""
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(values, size=400) for name, values in (("colour", 6), ("size", 4), ("page", 30))}
    click = (columns["colour"] + rng.standard_normal(400) > 2.5).astype(int)
    table = {name: [f"{name}{v}" for v in values] for name, values in columns.items()}
    pq.write_table(pa.table({**table, "click": click}), tmp_path / "log.parquet")
    monkeypatch.setattr(version, "strongest_baseline", lambda kind, seeds, arena, *_: (
        "plain", [kind(model="logistic", epochs=1, weight_decay=0.1).fit(arena.train, arena.valid)]))  # fmt: skip

    def made(strategies, gates="band = [-9.0, 9.0]", rounds=1, out="out"):
        text = RECIPE.format(folder=tmp_path, strategies=strategies, gates=gates, rounds=rounds, out=out)
        return loading.parse(text, "clicks.toml")

    return made


def run(chosen):
    return ran(chosen, device="cpu")["tasks"]["clicks"]


def test_a_strategy_that_yields_nothing_is_left_out_with_a_warning(clicks, tmp_path):
    task = run(clicks("noise = 0.5, self-training = 0.5"))
    assert task["status"] in ("published", "rejected")
    assert task["rows"] == task["strategies"]["noise"]["kept"] == 30  # its share went to nobody
    nothing, short = task["warnings"]
    assert nothing.startswith(
        "'self-training' is left out: nothing was proposed: the source keeps no row without label"
    )
    assert short == "30 of the 60 samples wanted were made: 'self-training' 0 of 30"
    page = next((tmp_path / "out").glob("report-*.html")).read_text()
    assert "<b>Warning</b>: &#x27;self-training&#x27; is left out" in page


def test_only_a_task_whose_strategies_all_fail_is_refused_and_says_why(clicks):
    task = run(clicks("noise = 0.5, masking = 0.5", "band = [40.0, 50.0], min_novelty = 0.0"))
    assert task["status"] == "rejected"
    for name in ("noise", "masking"):
        assert f"'{name}' is left out: the gates kept 0 of " in task["reason"]
    assert "too hard (margin median " in task["reason"]
    assert "gates.band starts at 40: [" in task["reason"]


def test_a_share_below_the_least_is_dropped_whole(clicks):
    least = "band = [-9.0, 9.0], min_kept_share = 0.9"  # one of four candidates is kept
    made = run(clicks("noise = 1.0", least))
    assert made["status"] == "rejected"
    assert "fewer than gates.min_kept_share = 0.9 asks for" in made["reason"]


def test_a_share_of_less_than_one_sample_is_said(clicks, tmp_path):
    made = single.generate_only(clicks("noise = 1.0, swaps = 0.001"), "clicks", tmp_path / "shards", device="cpu")
    assert made["rows"] == 60
    assert made["warnings"] == ["'swaps' is left out: nothing was proposed: its share comes to less than one sample"]


def test_the_setting_that_a_refusal_names_lets_half_through(clicks, tmp_path):
    def proposed(band, out):
        gates = f"min_label_agreement = 0.0, min_novelty = 0.0, min_plausibility = 0.0, band = {band}"
        return single.generate_only(clicks("masking = 1.0", gates, out=out), "clicks", tmp_path / out, device="cpu")

    with pytest.raises(Refused) as refused:
        proposed("[8.0, 9.0]", "one")
    said = re.search(
        r"of (\d+): \1 too hard \(margin median .*, gates.band starts at 8: (.*) lets half", str(refused.value)
    )
    made = proposed(said[2], "two")["strategies"]["masking"]
    assert made["refused"]["too hard"]["count"] / made["proposed"] == pytest.approx(0.5, abs=0.15)


def test_what_cannot_begin_is_left_out_too(clicks):
    pytest.importorskip("imblearn")
    chosen = clicks("noise = 0.5, smote = 0.5")
    task = chosen.tasks["clicks"].model_copy(update={"strategy_options": {"smote": {"neighbours": 5000}}})
    made = run(chosen.model_copy(update={"tasks": {"clicks": task}}))
    assert made["rows"] == 30
    assert made["warnings"][0].startswith("'smote' is left out: nothing was proposed: smote: Expected n_neighbors")


def test_rounds_say_in_which_of_them_a_strategy_was_left_out(clicks, monkeypatch):
    found = iter((0.1, 0.2, 0.3))
    monkeypatch.setattr(rounds, "robustness", lambda *_: next(found))
    made = run(clicks("noise = 0.5, self-training = 0.5", rounds=2))
    assert [line.split(":")[0] for line in made["warnings"][:2]] == ["round 1", "round 2"]
    assert made["warnings"][2] == "30 of the 60 samples wanted were made: 'self-training' 0 of 30"


def test_a_search_that_has_nothing_to_choose_from_is_refused(clicks):
    pytest.importorskip("optuna")
    with pytest.raises(Refused, match=r"'noise' is left out: the gates kept 0 of .* not novel .*gates.min_novelty = 2"):
        search.search(clicks("noise = 1.0", "min_novelty = 2.0"), trials=1, seeds=1, device="cpu")


# -- the tally itself ------------------------------------------------------------------------------


def test_scores_kept_are_bounded_and_drawn_evenly():
    found = Stopped()
    for start in range(0, 50_000, 1000):
        found.add(np.arange(start, start + 1000, dtype=float), 1)
    assert found.count == 50_000
    assert found.again == 50
    assert len(found.scores) == SAMPLED
    assert found.median == pytest.approx(25_000, rel=0.15)
    again = Stopped()
    for start in range(0, 50_000, 1000):
        again.add(np.arange(start, start + 1000, dtype=float), 1)
    assert again == found


def test_merged_tallies_weigh_by_what_they_counted():
    many, few = Stopped(), Stopped()
    many.add(np.zeros(9000), 0)
    few.add(np.ones(1000), 3)
    many.merge(few)
    assert (many.count, many.again, len(many.scores)) == (10_000, 3, SAMPLED)
    assert np.mean(many.scores) == pytest.approx(0.1, abs=0.01)


def test_a_tally_survives_json():
    tally = Tally(wanted=5, proposed=9, kept=2, hardness=[0.5, 1.0], novelty=[0.1, 0.2])
    tally.stop("too hard", np.array([-5.0, -6.0]), 0)
    assert Tally.stored(json.loads(json.dumps(asdict(tally)))) == tally


def test_each_gate_names_its_score_and_its_setting():
    gates = Gates(band=(-0.5, 1.5))
    tally = Tally(proposed=45)
    tally.stop("too hard", np.linspace(-9.9, -0.6, 31), 0)
    tally.stop("implausible", np.full(9, 0.012), 4)
    tally.stop("not finite", np.full(3, np.nan), 0)
    tally.stop("too easy", np.full(2, 3.33), 0)
    assert tally.fate(gates) == (
        "the gates kept 0 of 45: 31 too hard (margin median -5.25, gates.band starts at -0.5: [-5.3, 1.5] lets half "
        "through), 9 implausible (plausibility median 0.012, gates.min_plausibility = 0.05: 0.012 lets half through; 4 "
        "fail a later gate too), 3 not finite (the victim's loss, or the vector, is not a number), 2 too easy (margin "
        "median 3.33, gates.band ends at 1.5: [-0.5, 3.4] lets half through)"
    )


@pytest.mark.parametrize(("value", "low", "high"), [(-5.25, -5.3, -5.2), (0.0123, 0.012, 0.013), (0.0, 0.0, 0.0),
                                                    (5.0, 5.0, 5.0), (123.0, 120.0, 130.0)])  # fmt: skip
def test_limits_are_rounded_to_the_side_that_lets_through(value, low, high):
    assert rounded(value, down=True) == pytest.approx(low)
    assert rounded(value, down=False) == pytest.approx(high)


def test_margins_and_losses_are_inverse():
    assert losses_to_margins(np.array(margins_to_losses((-300.0, 12.0)))) == pytest.approx([12.0, -300.0])
    assert losses_to_margins(np.zeros(1))[0] == pytest.approx(16.1, abs=0.1)


# -- checks of a night -----------------------------------------------------------------------------


def test_a_check_says_how_far_and_what_would_let_it_through():
    checks = checks_of({})
    found = [checks["poison"].failure(0.123, "12 rows"), checks["kept_share"].failure(0.0041, "")]
    assert [check["reason"] for check in found] == [
        "poison: share of the window's rows by fake users or floods: 0.12 (12 rows), above nightly.checks.poison.limit "
        '= 0.05 by 0.073; limit = 0.13, or severity = "warn" lets it through',
        "kept_share: share of the proposals that pass the gates: 0.0041, below nightly.checks.kept_share.limit = 0.05 "
        "by 0.046; limit = 0.0041 lets it through",
    ]


@pytest.mark.parametrize("name", checks_of({}))
def test_the_limit_that_a_check_names_lets_it_through(name):
    check = checks_of({})[name]
    figure = 0.01237 if check.least else 17.37
    assert check.failure(1.0 if check.least else 0.0, "") is None
    named = float(re.search(r"; limit = (\S+?),? ", check.failure(figure, "")["reason"])[1])
    assert not checks_of({name: Limit(limit=named, severity="error")})[name].failure(figure, "")
