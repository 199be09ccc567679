"""What `predict` adds to the network's own time on many patches, and whether memory stays flat.

The network alone is timed on one batch that is already normalised and on the device; `predict` reads a packed store,
normalises, scores, calibrates and writes. Both in one process, in turn, so that a slow minute falls on both.

Usage: python -m benchmarks.suites.predict [--patches 50000] [--size 96] [--rounds 5] [--record]
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks import harness
from fastpath.config import parse
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.runs import inference
from fastpath.runs.trained import TrainedRun, open_run
from fastpath.runtime import Runtime, resolve
from fastpath.store.reader import Store, open_store
from fastpath.workflows import pack
from fastpath.workflows.predict import predict
from fastpath.workflows.train import train

DISTINCT, SAMPLE_EVERY = 2000, 2000  # distinct synthetic patches; patches between two looks at memory


class Repeated:
    """A store whose rows are gone through again and again: many patches from a few files' worth of disk."""

    def __init__(self, store: Store, count: int) -> None:
        self._store, self._count, self.path = store, count, store.path
        self.patch_size_px = store.patch_size_px
        self.ids_N = np.array([f"patch{row:07d}" for row in range(count)], dtype=object)
        self.labels_N = np.full(count, -1, np.int8)

    def __len__(self) -> int:
        return self._count

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        """Return the patches of these rows."""
        return self._store.gather(np.asarray(indices_N) % len(self._store), out_NHWC)


def anonymous_mib() -> float:
    """Return memory that this process holds and no file backs, in MiB."""
    match = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(match.group(1)) / 1024 if match else float("nan")


def model_alone(run: TrainedRun, store: Store, runtime: Runtime, patches: int) -> float:
    """Return patches a second of the network on one batch that waits for it."""
    model = runtime.prepare(run.network())
    batch = next(inference.batches(run, store, np.arange(run.config.data.batch_size), runtime))
    images = batch.images_NCHW.clone(memory_format=torch.channels_last)
    steps = max(1, patches // len(images))
    with torch.inference_mode():
        for _ in range(3):
            model(images)
        began = time.perf_counter()
        for _ in range(steps):
            model(images)
    return steps * len(images) / (time.perf_counter() - began)


def predicted(run: Path, patches: Repeated, target: Path, runtime: Runtime) -> tuple[float, list[float]]:
    """Return patches a second of `predict`, and memory after every `SAMPLE_EVERY` of them."""
    memory: list[float] = []

    def look(done: int, _total: int) -> None:
        if done // SAMPLE_EVERY > len(memory):
            memory.append(anonymous_mib())

    began = time.perf_counter()
    predict.predict_patches([run], patches, target, runtime, advance=look)  # type: ignore[arg-type]
    return len(patches) / (time.perf_counter() - began), memory


@click.command()
@click.option("--patches", default=50_000, show_default=True, help="Patches of the long run.")
@click.option("--size", default=96, show_default=True, help="Input size of the network.")
@click.option("--rounds", default=5, show_default=True, help="Pairs of short runs.")
@click.option("--short", default=2048, show_default=True, help="Patches of a short run.")
@click.option("--record/--no-record", default=False)
def main(patches: int, size: int, rounds: int, short: int, record: bool) -> None:
    """Measure, print and, if asked, write a record."""
    settings: dict[str, Any] = {"patches": patches, "image_size_px": size, "batch_size": 64, "rounds": rounds}
    with tempfile.TemporaryDirectory() as scratch:
        folder, runtime = Path(scratch), resolve("cpu")
        write_kaggle_folder(folder / "kaggle", num_train=DISTINCT, num_test=0)
        pack.pack_source(folder / "kaggle", folder / "store")
        data = {"image_size_px": size, "batch_size": 64, "sampling": "natural", "limit": 64, "val_limit": 64}
        model = {"name": "baseline_cnn", "pretrained": False, "trainable": "all"}
        train.train_run(
            folder / "store", folder / "run", parse({"data": data, "model": model, "train": {"epochs": 1}}), runtime
        )
        run, store = open_run(folder / "run"), open_store(folder / "store")
        few, many = Repeated(store, short), Repeated(store, patches)
        figures = harness.alternate(
            {
                "predict": lambda: predicted(folder / "run", few, folder / "few.csv", runtime)[0],
                "network alone": lambda: model_alone(run, store, runtime, short),
            },
            rounds,
        )
        long, memory = predicted(folder / "run", many, folder / "many.csv", runtime)
        after = model_alone(run, store, runtime, short)
    ratio = harness.ratios(figures, of="predict")["network alone"]
    early, late = float(np.median(memory[: len(memory) // 3])), float(np.median(memory[-len(memory) // 3 :]))
    table = "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| network alone, patches/s, median of {rounds} | {np.median(figures['network alone']):.0f} |",
            f"| predict over network alone, {short} patches a run, median (min to max) "
            f"| {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f}) |",
            f"| predict, {patches} patches in one run, patches/s | {long:.0f} |",
            f"| the same over the network alone right after it | {long / after:.3f} |",
            f"| memory no file backs: first third, last third of the run, MiB | {early:.0f}, {late:.0f} |",
        ]
    )
    click.echo(table)
    if record:
        results = {"patches_per_s": figures, "long": long, "network_after": after, "memory_mib": memory, "ratio": ratio}
        click.echo(f"→ {harness.write_record('predict', settings, results, table)}")


if __name__ == "__main__":
    main()
