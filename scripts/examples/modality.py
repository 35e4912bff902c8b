"""A modality: orders as rows of plain numbers, as a fraud model reads them; a vector is their standard scores.

Entry point, group `sparring.modalities`: `numbers = modality:Numbers`. A consumer then says `modality = "numbers"`.
"""

from hashlib import sha256

import numpy as np
import pyarrow as pa

from augment.contracts.modality import Perturbation, RowRules
from augment.gates.labels import Labelled
from augment.recipes.source import RESERVED


class Numbers(Labelled):
    name, rows = "numbers", RowRules(needs=("label",), fields=True)
    perturbations = {"misread": Perturbation("numbers a tenth off"), "mix-up": Perturbation("a number of another row")}  # noqa: RUF012

    def __init__(self, train):
        self.names = [name for name in train.column_names if name not in RESERVED]
        self.real = self.read(train)
        self.mean, self.scale = self.real.mean(axis=0), self.real.std(axis=0) + 1e-9
        self.dim, self.decoded = len(self.names), pa.struct([(name, pa.string()) for name in self.names])
        self.encoder = f"scores@{sha256(self.real.tobytes()).hexdigest()[:12]}"

    @classmethod
    def around(cls, train, prepared, victim, tools):
        return cls(train)

    def read(self, rows):
        return np.stack([rows[name].cast(pa.float64()).to_numpy() for name in self.names], axis=1)

    def write(self, rows, values):
        new = dict(zip(self.names, values.T.round(2), strict=True))
        return pa.table({c: pa.array(new[c]).cast(pa.string()) if c in new else rows[c] for c in rows.column_names})

    def encode(self, rows):
        return np.float32((self.read(rows) - self.mean) / self.scale)

    def decode(self, embedding, anchors, bank, rng):
        rows = self.write(anchors, embedding * self.scale + self.mean)
        return rows, self.encode(rows)

    def perturb(self, rows, rng, kind=""):
        x, other = self.read(rows), self.real[rng.integers(len(self.real), size=len(rows))]
        mixed = np.where(rng.random(x.shape) < 1 / self.dim, other, x)
        return self.write(rows, mixed if kind == "mix-up" else x * rng.normal(1, 0.1, x.shape))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    orders = {"price": rng.gamma(2, 20, 9).round(2).astype(str), "items": rng.integers(1, 9, 9).astype(str)}
    rows = pa.table(orders | {"row_id": list("abcdefghi"), "label": rng.integers(0, 2, 9)})
    for kind in Numbers.perturbations:
        print(kind, Numbers(rows).perturb(rows, rng, kind).to_pylist()[0], "was", rows.to_pylist()[0])
