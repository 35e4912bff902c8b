"""Samples on their way to the disk: a few large, content-hashed shards instead of many small ones."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from augment.manifest import Shard, write_atomic

SHARD_ROWS = 16_384  # bounds what a stage holds in memory (25 MB of 384-dimensional embeddings)
ROW_GROUP = 1_024  # the unit in which readers skip and shuffle
