"""What `generate` and `train` leave in a folder: all of it, or what was there before."""

import shutil

import pytest
from nights import nightly_recipe, write
from ran import run

from augment.base.errors import Locked, UsageError
from augment.publishing.dataset import Dataset
from augment.runs import single
from augment.runs.steps import WORK, delivered
from consumers.data import storage


@pytest.fixture
def recipe(impressions, tmp_path):
    write(tmp_path / "raw", impressions, 0)
    return nightly_recipe(tmp_path / "raw", tmp_path / "out")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop(*_, **__):
    raise KeyboardInterrupt


def test_samples_that_are_stopped_on_their_way_can_be_made_again(recipe, tmp_path, monkeypatch):
    out = tmp_path / "shards"
    copy = shutil.copy

    def half(path, folder):
        copy(path, folder)
        stop()

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy", half)
        with pytest.raises(KeyboardInterrupt):
            single.generate_only(recipe, "ctr", out, device="cpu")
    assert content(out) == {}
    (out / f"{WORK}killed").mkdir()  # by what nothing can clear up after
    assert single.generate_only(recipe, "ctr", out, device="cpu")["rows"] == 300
    assert [path.suffix for path in out.iterdir()] == [".parquet"]
    with pytest.raises(UsageError, match="not empty"):
        single.generate_only(recipe, "ctr", out, device="cpu")


@pytest.mark.usefixtures("accepted")
def test_a_training_that_is_stopped_leaves_the_earlier_model(recipe, tmp_path, monkeypatch):
    run(recipe, device="cpu")
    model = tmp_path / "model"
    model.mkdir()
    before = {"model.json": b"{}", "model.safetensors": b"earlier", "notes.txt": b"mine"}
    for name, written in before.items():
        (model / name).write_bytes(written)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_whole", stop)  # the weights are written by then
        with pytest.raises(KeyboardInterrupt):
            single.train(recipe, "ctr", model, device="cpu")
    assert content(model) == before
    single.train(recipe, "ctr", model, device="cpu")
    assert content(model).keys() == {*before, "mix.json"}
    assert content(model)["notes.txt"] == b"mine"
    assert single.evaluate(recipe, "ctr", model, device="cpu")["rows"] > 0


def test_two_at_once_do_not_write_to_one_folder(tmp_path):
    with delivered(tmp_path) as first:
        (first / "a").write_text("first")
        with pytest.raises(Locked, match="another command writes there"), delivered(tmp_path):
            pass
    assert content(tmp_path) == {"a": b"first"}


@pytest.mark.usefixtures("accepted")
def test_a_recipe_that_is_as_it_was_two_runs_ago_says_that_another_is_current(recipe):
    other = recipe.model_copy(update={"seed": recipe.seed + 1})
    for wanted in (recipe, other):
        assert run(wanted, device="cpu")["status"] == "published"
    again = run(recipe, device="cpu")
    reason = again["tasks"]["ctr"]["reason"]
    assert again["status"] == "unchanged"
    assert "published as version 0, of which current version 1 holds no samples; `sparring rollback" in reason
    Dataset(f"{recipe.output}/ctr").rollback(0)
    assert "holds no samples" not in run(recipe, device="cpu")["tasks"]["ctr"]["reason"]
    assert "of which current version 2 holds no samples" in run(other, device="cpu")["tasks"]["ctr"]["reason"]
