"""Nearest neighbours by FAISS: the one place that imports it.

`faiss-gpu` searches on the GPU where there is one and on the CPU elsewhere; `faiss-cpu` serves other platforms.
"""

from __future__ import annotations

import faiss
import numpy as np

FLAT_LIMIT = 50_000  # exact search up to here; an inverted file beyond, where exact search gets slow


class Neighbours:
    """Euclidean nearest neighbours among fixed vectors float32[n, d].

    Exact up to `FLAT_LIMIT` vectors; beyond, an inverted file with sqrt(n) lists of which an eighth is probed
    (about .98 recall on embeddings), trained with FAISS's fixed seed, so that equal input gives equal answers.
    """

    def __init__(self, vectors: np.ndarray, device: str = "cpu") -> None:
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.size, dim = vectors.shape
        index: faiss.Index = faiss.IndexFlatL2(dim)
        if self.size > FLAT_LIMIT:
            lists = int(self.size**0.5)
            index = faiss.IndexIVFFlat(index, dim, lists)
            index.nprobe = max(8, lists // 8)
        if device.startswith("cuda") and hasattr(faiss, "StandardGpuResources"):
            self._resources = faiss.StandardGpuResources()  # must outlive the index
            index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
        self._index = index

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances float32[m, k], nearest first, and their indices int64[m, k]; k is cut to the vectors there are.

        An inverted file can find fewer than k: such places repeat the nearest neighbour.
        """
        squared, index = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, self.size))
        missing = index < 0
        index = np.where(missing, index[:, :1], index)
        squared = np.where(missing, squared[:, :1], squared)
        return np.sqrt(np.maximum(squared, 0.0)), index


def build_info() -> dict[str, str | int]:
    """FAISS version, its CPU instruction set and the number of GPUs it sees."""
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return {
        "version": faiss.__version__,
        "compile_options": faiss.get_compile_options().strip(),
        "gpus": gpus,
    }


def set_threads(threads: int) -> None:
    faiss.omp_set_num_threads(threads)
