"""A slice of `scripts/malformed/inputs.py`: what it makes never hurts, and it notices when something does."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

from malformed import inputs

from augment.sources import cleaning as sources


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

    monkeypatch.setattr(sources, "prepare", broken)
    counts = inputs.run(4, 7, tmp_path, demo_folder)
    assert counts["failed"] > 0
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == counts["failed"]
