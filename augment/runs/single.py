"""Work on one task that publishes nothing: samples in a folder, a model trained on a mix, a model's metrics."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from augment.base.errors import UsageError
from augment.base.files import made, write_whole
from augment.language.ngrams import Ngrams
from augment.publishing import spaces
from augment.publishing.dataset import Dataset
from augment.publishing.lock import check_owner
from augment.publishing.manifest import Manifest
from augment.recipes.schema import Recipe
from augment.runs.result import finite
from augment.runs.rounds import generate
from augment.runs.rows import Material, read
from augment.runs.steps import WORK, Steps, delivered, work_folder
from augment.runs.task import Job, open_job
from augment.runs.teaching import lesson

NGRAMS_FILE = "ngrams.safetensors"  # beside a model whose vectors it takes part in


def generate_only(
    recipe: Recipe, name: str, folder: Path, *, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """Write gated samples of one task as Parquet shards into `folder`: no verdict, nothing published."""
    job = open_job(recipe, name, device, threads)
    if any(not path.name.startswith(WORK) for path in made(folder).iterdir()):
        raise UsageError(f"{folder} is not empty; choose a new folder")
    with delivered(folder) as out, work_folder(job) as work, Dataset(work / "stage").stage(job.digest) as stage:
        material = read(job, work)
        steps = Steps(work)
        victim = job.make(job.seeds[0]).fit(material.arena.train, material.arena.valid)
        taught = lesson(job, material, [victim], steps)
        generated = generate(job, material, victim, stage, steps, teacher=taught.teacher)
        for shard in stage.files:
            shutil.copy(stage.root / shard.path, out)
        if material.ngrams:  # _: readers of the folder's Parquet pass over it
            write_whole(out / f"_{NGRAMS_FILE}", material.ngrams.content)
    tallies = generated.tallies
    return {
        "path": str(folder),
        "rows": sum(t.kept for t in tallies.values()),
        "strategies": {name: tally.summary(job.task.gates) for name, tally in tallies.items()},
        "warnings": generated.warnings,
    }


def train(recipe: Recipe, name: str, folder: Path, *, version: str = "current", device: str = "auto",
          threads: int | None = None) -> dict[str, Any]:  # fmt: skip
    """Train a task's consumer on its real rows and a published version of its mix, and save it to `folder`."""
    job = open_job(recipe, name, device, threads)
    check_owner(recipe)
    published = job.dataset.version(version)
    samples = job.dataset.read(published.version).to_table()
    with delivered(made(folder)) as out, work_folder(job) as work:
        material = read(job, work, spaces.load_local(job.dataset.root, published.manifest.encoders))
        _check_space(job, material, published.manifest)
        arena = material.arena
        job.make_on_mix(job.recipe.seed).fit(arena.train, arena.valid, samples).save(out)
        if material.ngrams:
            write_whole(out / NGRAMS_FILE, material.ngrams.content)
        mix = {"path": str(job.folder), "version": published.version, "run": published.run}
        write_whole(out / "mix.json", json.dumps(mix).encode())
    return {
        "model": str(folder),
        "mix_version": published.version,
        "rows": len(arena.train),
        "samples": len(samples),
    }


def evaluate(
    recipe: Recipe, name: str, folder: Path, *, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """The metrics of a saved model on the task's test rows."""
    job = open_job(recipe, name, device, threads)
    model = job.consumer.load(folder, job.device)
    kept = folder / NGRAMS_FILE
    with work_folder(job) as work:
        arena = read(job, work, Ngrams(kept.read_bytes(), str(kept)) if kept.exists() else None).arena
        measures = model.evaluate(arena.test, arena.attacked)
    metrics = {metric: {"value": finite(m.value()), "better_is": m.better_is} for metric, m in measures.items()}
    return {"model": str(folder), "rows": len(arena.test), "metrics": metrics}


def _check_space(job: Job, material: Material, manifest: Manifest) -> None:
    if material.prepared.encoder and material.prepared.encoder not in manifest.encoders:
        raise UsageError(
            f"{job.folder}: the samples were made with encoder {', '.join(manifest.encoders)}, the recipe's is "
            f"{material.prepared.encoder}: run the recipe again, or set the encoder it had"
        )
