"""A night uses the teacher's models of the last fit again, as it does the victim and the generator."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from nights import day, nightly_recipe, write
from ran import night

from augment.nights.fits import STATE
from consumers import ClickModel

TAUGHT = """
teachers = ["strong"]
teacher_options = { strong = { folds = 2, deals = 1 } }
samples = 300"""


@pytest.fixture
def fits(monkeypatch):
    """The rows of each training of the plain model; every teacher counts as better."""
    trained, fit = [], ClickModel.fit

    def seen(self, train, valid, mix=None):
        if self.options.dim == 5:
            trained.append(len(train))
        return fit(self, train, valid, mix)

    monkeypatch.setattr(ClickModel, "fit", seen)
    plain = classmethod(lambda cls, seed, device: {"strong": cls(dim=5, epochs=1, weight_decay=0.03, seed=seed)})
    monkeypatch.setattr(ClickModel, "baselines", plain)
    monkeypatch.setattr("augment.runs.teaching._doubt", lambda *given: "")
    return trained


@pytest.mark.usefixtures("accepted")
def test_models_of_a_teacher_are_used_again_until_the_next_fit(impressions, tmp_path, fits):
    for number in range(7):
        write(tmp_path / "raw", impressions, number)
    recipe = nightly_recipe(tmp_path / "raw", tmp_path / "out", **{"\nsamples = 300": TAUGHT})
    taught = []
    for number in (2, 3, 5):
        task = night(recipe, as_of=day(number), device="cpu")["tasks"]["ctr"]
        assert task["labels"].startswith("'strong' labels")
        taught.append(sum(rows < 0.4 * 500 * (number + 1) for rows in fits))  # one of two folds of the training rows
        fits.clear()
    assert taught == [2, 0, 2]  # new at first, used again, and with the fit that is due
    kept = sorted((Path(recipe.output) / STATE / "ctr").glob("*/teacher-strong-*"))
    assert len(kept) == 4  # two models of either fit
    files = list(Path(recipe.output).glob("ctr/*/*.parquet"))
    sources = {s for f in files for s in pq.read_table(f)["label_source"].to_pylist()}
    assert sources == {"strong"}
    spread = np.concatenate([pq.read_table(f)["teacher_spread"].to_numpy() for f in files])
    assert (spread == 0).all()  # of one deal, one model speaks
