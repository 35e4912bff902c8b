"""Which nights say what each strategy brings."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from nights import day, nightly_recipe, write
from ran import night

from augment.contracts.result import TaskResult
from augment.nights import attributions
from augment.recipes.schema import Nightly
from consumers import ClickModel, open_mix


def dates(folder, nights, days=7, said=True):
    """Of these nights the ones that are due; said: whether they can say it."""
    nightly = Nightly(attribute_days=days)
    job = SimpleNamespace(name="ctr", recipe=SimpleNamespace(output=str(folder), nightly=nightly))
    found = []
    for number in nights:
        due = attributions.due(job, day(number))
        found += [number] if due else []
        attributions.note(job, day(number), TaskResult("published", "", attribution={} if due and said else None))
    return found


@pytest.mark.parametrize(
    ("nights", "days", "due"),
    [
        (range(1, 24), 7, [7, 14, 21]),  # the seventh is the first, not the sixth
        (range(101, 116), 7, [107, 114]),  # wherever the first night is
        ([1, 2, 3, 4, 5, 6, 9, 10, 15, 16], 7, [9, 16]),  # skipped ones are made up for
        ([1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 15, 16], 7, [8, 15]),  # weekdays alone
        ([1, 40, 41], 7, [40]),
        (range(1, 4), 1, [1, 2, 3]),
        (range(1, 30), 0, []),
        ([5, 6, 3, 7, 8, 9, 10, 11, 8, 12], 7, [11]),  # older days, once more
        ([*range(1, 8), 7, 8], 7, [7, 7]),  # made anew with late rows: its page says it again
    ],
)
def test_every_seventh_night_is_due_and_one_that_was_skipped_is_made_up_for(tmp_path, nights, days, due):
    assert dates(tmp_path, nights, days) == due


def test_a_night_that_could_not_say_it_leaves_it_to_the_next(tmp_path):
    assert dates(tmp_path, range(1, 10), said=False) == [7, 8, 9]


def test_a_damaged_note_counts_from_tonight(tmp_path):
    dates(tmp_path, range(1, 9))
    (note,) = tmp_path.rglob("attributed")
    note.write_bytes(b"2026-13-\xff")
    assert dates(tmp_path, range(9, 17)) == [15]


@pytest.mark.usefixtures("accepted")
def test_nights_attribute_by_the_days_and_count_the_samples_of_earlier_nights(impressions, tmp_path, monkeypatch):
    for number in range(4):
        write(tmp_path / "raw", impressions, number)
    recipe = nightly_recipe(tmp_path / "raw", tmp_path / "out", keep_days="attribute_days = 2\nkeep_days")
    mixes, fit = [], ClickModel.fit

    def seen(self, train, valid, mix=None):
        mixes.append(0 if mix is None else len(mix))
        return fit(self, train, valid, mix)

    monkeypatch.setattr(ClickModel, "fit", seen)
    monkeypatch.setattr(ClickModel, "baselines", classmethod(lambda cls, seed, device: {"own": cls(epochs=1)}))
    first = night(recipe, as_of=day(2), device="cpu")["tasks"]["ctr"]
    assert "attribution" not in first
    assert [rows for rows in mixes if rows] == [300]
    mixes.clear()
    found = night(recipe, as_of=day(3), device="cpu")
    task = found["tasks"]["ctr"]
    table = open_mix(recipe.output, "ctr").to_table()
    assert set(table["day"].to_pylist()) == {str(day(2)), str(day(3))}
    made = {name: table["strategy"].to_pylist().count(name) for name in ("gan", "masking")}
    assert {name: one["samples"] for name, one in task["attribution"].items()} == made
    assert [rows for rows in mixes if rows] == [len(table), made["masking"], made["gan"]]
    assert "Which strategy did it" in Path(found["report"]).read_text()
    mixes.clear()
    again = night(recipe, as_of=day(3), device="cpu")["tasks"]["ctr"]
    assert again["attribution"] == task["attribution"]
    assert not mixes
