"""A model on disk: `model.safetensors` and `model.json`. Nothing in either can run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from augment.base.errors import BadInput
from augment.base.files import sync, write_whole

Arrays = dict[str, np.ndarray]
PARTS = ("data", "indices", "indptr")  # of a sparse matrix


def save(folder: Path, arrays: Arrays, settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".model.{os.getpid()}.tmp"
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
    sync(temporary)
    temporary.replace(folder / "model.safetensors")
    write_whole(folder / "model.json", json.dumps(settings, indent=1, ensure_ascii=False).encode())


def load(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """Raises BadInput when the folder holds no readable model."""
    try:
        return load_file(folder / "model.safetensors"), json.loads((folder / "model.json").read_text("utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"{folder}: no model that can be read here ({error})") from None


def sparse(name: str, matrix: csr_matrix) -> Arrays:
    """The arrays of a sparse matrix, for `save`."""
    return {f"{name}.{part}": getattr(matrix, part) for part in PARTS}


def take_sparse(arrays: Arrays, name: str, columns: int) -> csr_matrix:
    """The matrix [rows, columns] that `sparse` made arrays of, taken out of `arrays`."""
    data, indices, indptr = (arrays.pop(f"{name}.{part}") for part in PARTS)
    return csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, columns))
