"""What tests of nights share: a shop with a few days of real impressions, and verdicts that accept."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nights import nightly_recipe, write

from augment import pipeline


@pytest.fixture(scope="session")
def impressions(demo_folder):
    rows = pq.read_table(demo_folder / "impressions.parquet")
    return rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))[:8000]))


@pytest.fixture
def accepted(monkeypatch):
    """A few hundred rows prove nothing: the verdict, which other tests are about, is that the samples help."""
    judge = pipeline.judge
    monkeypatch.setattr(pipeline, "judge", lambda *given: replace(judge(*given), accepted=True))


@pytest.fixture
def shop(impressions, tmp_path):
    """Three days of rows, and a recipe that publishes whatever passes the gates."""
    for number in range(3):
        write(tmp_path / "raw", impressions, number)
    return nightly_recipe(tmp_path / "raw", tmp_path / "out")
