"""A slice of `scripts/malformed`: what it makes never hurts, and it notices when something does."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

from malformed import commands, inputs

TABLES = ("behaviour", "impressions", "reviews")


def test_malformed_inputs_end_in_splits_or_in_one_line(tmp_path, demo_folder, monkeypatch):
    monkeypatch.setattr(inputs, "SAMPLED", 140)
    counts = inputs.run(150, 7, tmp_path, demo_folder)
    failures = tmp_path / "failures.jsonl"
    assert not failures.exists(), failures.read_text()
    assert counts["inputs"] == 150
    assert counts["real commands"] == 2
    assert min(counts["ok"], counts["exit 2"], counts["exit 5"]) > 0


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x")])
def test_an_input_that_hurts_is_counted_and_kept(tmp_path, demo_folder, monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setattr(inputs, "prepare", broken)
    counts = inputs.run(4, 7, tmp_path, demo_folder)
    assert counts["failed"] > 0
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == counts["failed"]


def test_real_tables_in_any_dress_go_through_the_commands(tmp_path, demo_folder):
    counts = commands.run([demo_folder / f"{name}.parquet" for name in TABLES], 10, 11, tmp_path, count=5)
    failures = tmp_path / "failures.jsonl"
    assert not failures.exists(), failures.read_text()
    assert counts["inputs"] == 5
    assert min(counts["init: exit 0"], counts["run: exit 3"] + counts["run: exit 0"]) > 0


def test_a_value_that_is_not_what_was_written_is_counted(tmp_path, demo_folder, monkeypatch):
    monkeypatch.setattr("augment.sources.formats.text_of", lambda column, kind: f"right({column}, 1)")
    assert commands.run([demo_folder / "behaviour.parquet"], 10, 11, tmp_path, count=4)["failed"] > 0


def test_a_command_that_ends_in_a_bug_is_counted(tmp_path, demo_folder, monkeypatch):
    def broken(*_):
        raise KeyError("x")

    monkeypatch.setattr("augment.drafting.draft.tried", broken)
    counts = commands.run([demo_folder / "behaviour.parquet"], 10, 11, tmp_path, count=4)
    assert counts["init: exit 1"] == counts["failed"] > 0
