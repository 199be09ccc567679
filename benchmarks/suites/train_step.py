"""The training step: the notebook's loop against fastpath's, each gain alone, and how near the machine's limit it is.

Usage: python -m benchmarks.suites.train_step [--folder KAGGLE_FOLDER] [--rounds 2] [--batches 2]

ResNet-50 with random weights, its last stage and head trained, batches of 64. A contestant is a process of its own for
each figure: batches of activations of several would not fit in memory together.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks import harness
from benchmarks.peers.common import MEAN, STD
from benchmarks.suites.loader import Contestant, Running
from fastpath import config
from fastpath.engine.optim import make_optimizer
from fastpath.engine.step import train_step
from fastpath.model.freeze import parameter_groups
from fastpath.model.registry import build
from fastpath.runtime import Runtime, resolve
from fastpath.types import Batch
from fastpath.workflows import pack
from fastpath.workflows.bench import roofline

BASE, PARITY = "the notebook's loop", "fastpath train --amp"
NUM_TRAIN, NUM_VAL = 176_020, 44_005  # the notebook's epoch
FOLDED = "model.batchnorm=folded"
FAST = f"{FOLDED},data.sampling=systematic,data.augment.policy=d4,train.ema_decay=0.99,train.label_smoothing=0.05"

# At 224: the two-by-two of loader and precision, and what makes fewer operations of each.
AT_224 = {
    BASE: Contestant("notebook_loop"),
    "its loader, AMP and channels-last": Contestant("notebook_loop", "amp"),
    "fastpath's loader, its fp32 NCHW step": Contestant("notebook_loop", "loader"),
    PARITY: Contestant("fastpath_loop"),
    "… BatchNorm of the trunk folded": Contestant("fastpath_loop", FOLDED),
    "… at 128 px": Contestant("fastpath_loop", "data.image_size_px=128"),
    "… at 96 px": Contestant("fastpath_loop", "data.image_size_px=96"),
    "fast recipe at 128 px": Contestant("fastpath_loop", f"{FAST},data.image_size_px=128"),
    "fast recipe at 96 px": Contestant("fastpath_loop", f"{FAST},data.image_size_px=96"),
}
# At 96, where a step is short: what the rest costs or gains.
AT_96 = {
    "at 96 px": "",
    "… trunk's BatchNorm frozen": "model.batchnorm=frozen",
    "… folded": FOLDED,
    "… averaged weights": "train.ema_decay=0.99",
    "… label smoothing": "train.label_smoothing=0.05",
    "… D4 in place of the notebook's augmentation": "data.augment.policy=d4",
    "… systematic sampling": "data.sampling=systematic",
    "… batches of 128": "data.batch_size=128",
    "… torch.compile": "train.compile=true",
    "… folded and torch.compile": f"{FOLDED},train.compile=true",
}
# The fast recipe validates at the 128 pixels that its network will be used at.
FAST_VALIDATION = "fast recipe at 128 px"
VALIDATION = {
    BASE: Contestant("notebook_loop"),
    PARITY: Contestant("fastpath_loop"),
    FAST_VALIDATION: Contestant("fastpath_loop", "data.image_size_px=128"),
}


def rate(contestant: Contestant, arguments: Sequence[str], batches: int) -> float:
    """Return patches a second of one process, after one batch that is not timed."""
    running = Running(contestant, arguments)
    try:
        return float(running.ask(batches=batches)["images_per_s"])
    finally:
        running.close()


def limits() -> dict[str, float]:
    """Return what the machine can do, and what a step asks of it at 224 pixels."""
    runtime = resolve("cpu", amp=True)
    settings = config.load(config.recipe("notebook"), ["model.pretrained=false"])
    model = build(settings.model, 224)
    runtime.prepare(model).train()
    optimizer, scaler = make_optimizer(*parameter_groups(model), settings.optim), runtime.grad_scaler()
    images = torch.randn(2, 3, 224, 224).to(memory_format=torch.channels_last)
    batch = Batch(images, torch.tensor([0.0, 1.0]), torch.arange(2))
    flop = roofline.step_flop(lambda: train_step(model, batch, optimizer, scaler, runtime)) / 2
    peak = roofline.peak_flop_per_s(runtime)
    bfloat16 = Runtime(runtime.device, "bfloat16", runtime.num_threads)
    block = torch.zeros(1 << 26)
    copy = torch.empty_like(block)
    seconds = min(_seconds(lambda: copy.copy_(block)) for _ in range(5))
    return {
        "step_gflop_a_patch": flop / 1e9,
        "peak_fp32_gflop_per_s": peak / 1e9,
        "peak_bf16_gflop_per_s": roofline.peak_flop_per_s(bfloat16, side=512, rounds=2) / 1e9,
        "copy_gbyte_per_s": 2 * block.numel() * 4 / seconds / 1e9,
        "bound_images_per_s": peak / flop,
    }


def _seconds(run: Any) -> float:  # noqa: ANN401 (any callable)
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def epochs(train: Mapping[str, Sequence[float]], val: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return seconds of the notebook's epoch, worked out from rates: training patches, then validation patches."""

    def validated(name: str) -> Sequence[float]:
        if name == BASE:
            return val[BASE]
        return val[FAST_VALIDATION if name.startswith("fast recipe") else PARITY]

    seconds = {
        name: [NUM_TRAIN / images + NUM_VAL / scored for images, scored in zip(values, validated(name), strict=True)]
        for name, values in train.items()
    }
    small, large = (seconds.get(f"fast recipe at {size} px", []) for size in (96, 128))
    # recipe fast: four epochs at 96 pixels, one at 128.
    mean = [(4 * a + b) / 5 for a, b in zip(small, large, strict=False)]
    return seconds | ({"fast recipe, mean of its five": mean} if mean else {})


def table_of(figures: Mapping[str, Sequence[float]], base: str, unit: str, *, lower: bool = False) -> str:
    """Return Markdown: each contestant's figure, and how many times faster than `base` it is."""
    lines = [f"| | {unit}, median (min to max) | times as fast |", "|---|---|---|"]
    for name, values in figures.items():
        summary = harness.summary(values)
        pairs = zip(values, figures[base], strict=True)
        times = harness.summary([theirs / ours if lower else ours / theirs for ours, theirs in pairs])
        spread = f"{summary['median']:.1f} ({summary['min']:.1f} to {summary['max']:.1f})"
        lines.append(f"| {name} | {spread} | {times['median']:.2f} ({times['min']:.2f} to {times['max']:.2f}) |")
    return "\n".join(lines)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--rounds", type=int, default=2, show_default=True)
@click.option("--batches", type=int, default=2, show_default=True, help="Batches of 64 on each clock.")
@click.option("--ingredients/--no-ingredients", default=True, show_default=True, help="Each alone, at 96 pixels.")
def main(folder: Path | None, rounds: int, batches: int, ingredients: bool) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store"
        pack.pack_source(folder, store)

        def task(mode: str, size: int) -> list[str]:
            common = [f"--folder={folder}", f"--store={store}", "--batch-size=64", "--threads=2", "--warm=1"]
            return [*common, f"--mode={mode}", f"--image-size-px={size}"]

        def race(contestants: Mapping[str, Contestant], arguments: Sequence[str], count: int) -> dict[str, list[float]]:
            runs = {name: functools.partial(rate, who, arguments, count) for name, who in contestants.items()}
            return harness.alternate(runs, rounds)

        train = race(AT_224, task("train", 224), batches)
        val = race(VALIDATION, task("val", 224), batches)
        alone = {name: Contestant("fastpath_loop", variant) for name, variant in AT_96.items() if ingredients}
        parts = race(alone, task("train", 96), 4 * batches)
    bounds = limits()
    near = statistics.median(train[PARITY]) / bounds["bound_images_per_s"]
    tables = [table_of(train, BASE, "patches/s, training")]
    tables += ["Validation", table_of(val, BASE, "patches/s")]
    tables += [
        f"An epoch of the notebook's ({NUM_TRAIN:,} and {NUM_VAL:,} patches), worked out",
        table_of(epochs(train, val), BASE, "s", lower=True),
    ]
    tables += ["Each alone, at 96 pixels", table_of(parts, "at 96 px", "patches/s")] if parts else []
    tables += ["\n".join(f"- {name.replace('_', ' ')}: {value:.1f}" for name, value in bounds.items())]
    tables += [f"`{PARITY}` takes {near:.0%} of what the largest matrix product's rate allows."]
    text = "\n\n".join(tables)
    click.echo(text)
    settings = {"model": "resnet50, layer4 and head", "batch_size": 64, "threads": 2, "batches": batches}
    settings |= {"rounds": rounds, "mean": MEAN, "std": STD, "precision": resolve("cpu", amp=True).describe()}
    results = {"train_images_per_s": train, "val_images_per_s": val, "alone_images_per_s": parts, "limits": bounds}
    click.echo(f"→ {harness.write_record('train-step', settings, results, text)}")


if __name__ == "__main__":
    main()
