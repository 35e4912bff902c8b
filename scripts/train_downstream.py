"""A training job elsewhere: it reads the published table with pyarrow and deltalake, and needs nothing of ours.

    python scripts/train_downstream.py sparring-out/shop/ctr --out model

Waits for a first version, pins the one that is current, trains a small click model on its decoded rows, and writes
which version it was beside the model.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import time
import uuid
from pathlib import Path

import pyarrow as pa
import torch
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from safetensors.torch import save_file

PINS = "_sparring/pins"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="folder or URL of the task's table")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for a first version")
    parser.add_argument("--hours", type=float, default=6, help="for which the version is pinned")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    table = wait_for(options.table, options.wait)
    pin = hold(Path(options.table), table, options.hours)
    try:
        rows = table.to_pyarrow_dataset().to_table(columns=["decoded", "label", "weight", "run"])
        fields = pa.Table.from_struct_array(rows["decoded"].combine_chunks())
        model, loss = train(fields, rows, options.epochs)
    finally:
        if pin:
            pin.unlink(missing_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), options.out / "model.safetensors")
    made_of = {"table": options.table, "mix_version": table.version(), "rows": len(rows), "loss": loss,
               "runs": sorted(set(rows["run"].to_pylist()))}  # fmt: skip
    (options.out / "model.json").write_text(json.dumps(made_of, indent=1), "utf-8")
    print(json.dumps(made_of))


def wait_for(place: str, seconds: float) -> DeltaTable:
    until = time.monotonic() + seconds
    while True:
        try:
            return DeltaTable(place)
        except TableNotFoundError:
            if time.monotonic() >= until:
                raise SystemExit(f"{place}: nothing is published here; --wait waits for it") from None
            time.sleep(5)


def hold(root: Path, table: DeltaTable, hours: float) -> Path | None:
    """Keep the current version's files from being removed, where the table is on this disk."""
    if not root.is_dir():
        return None
    pins = root / PINS
    pins.mkdir(parents=True, exist_ok=True)
    with (pins / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nothing is removed between the look and the pin
        table.update_incremental()
        path, until = pins / f"{table.version()}-{uuid.uuid4().hex[:12]}.json", time.time() + hours * 3600
        path.write_text(json.dumps({"version": table.version(), "until": until, "holder": "downstream"}), "utf-8")
    return path


def train(fields: pa.Table, rows: pa.Table, epochs: int) -> tuple[torch.nn.Module, float]:
    """Logistic regression on hashed field values, by weighted cross-entropy."""
    size = 2**16
    codes = torch.tensor([[hash_of(name, value) % size for name, value in row.items()] for row in fields.to_pylist()])
    label, weight = (torch.from_numpy(rows[c].to_numpy().astype("float32")) for c in ("label", "weight"))
    torch.manual_seed(0)
    model = torch.nn.EmbeddingBag(size, 1, mode="sum")
    torch.nn.init.zeros_(model.weight)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    loss = torch.tensor(0.0)
    for _ in range(epochs):
        for part in torch.randperm(len(codes)).split(512):
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                model(codes[part])[:, 0], label[part], weight[part]
            )
            optimiser.zero_grad()
            losses.backward()
            optimiser.step()
            loss = losses.detach()
    return model, float(loss)


def hash_of(name: str, value: str | None) -> int:
    """The same in every process, unlike Python's own."""
    found = 0
    for letter in f"{name}={value}".encode():
        found = (found * 31 + letter) & 0xFFFFFFFF
    return found


if __name__ == "__main__":
    main()
