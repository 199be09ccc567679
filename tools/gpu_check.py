"""The one command for the first person with a card: does fastpath work there, and how fast is it?

Runs the `gpu` tests, compares the card's batches with the CPU's for every policy in every residency, then measures
loader, network and both together at the notebook's settings, in float32 and in mixed precision, on synthetic patches,
and writes one record with the published bound beside each figure.

Usage: make gpu-check     (or: python tools/gpu_check.py [--device cuda] [--patches 4096] [--batches 100])
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import harness
from fastpath import config as configuration
from fastpath import runtime
from fastpath.config import Config
from fastpath.config_data import POLICIES
from fastpath.data.loader import train_loader
from fastpath.data.residency import Residency, place
from fastpath.errors import UsageError
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.shards.reader import Store, open_store
from fastpath.types import ChannelStats
from fastpath.workflows import bench, pack

STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))
RINGS = {"ring_blur_p": 0.5, "ring_stain_p": 0.5, "ring_swap_p": 0.5}
POLICIES_COMPARED: dict[str, dict[str, Any]] = {name: {"policy": name} for name in POLICIES}
POLICIES_COMPARED |= {f"notebook, {border}": {"border": border} for border in ("clamp", "reflect")}
POLICIES_COMPARED["everything"] = {"policy": "strong", "border": "black", **RINGS}
MEAN_BOUND = 0.5  # grey levels; the two back ends may round differently, most of all in JPEG's cosine transform

NOTEBOOK_EPOCH_S, EPOCH_PATCHES = 960.0, 176_020
# Seconds of one epoch at the published rate of ResNet-50 with mixed precision; docs/performance.md derives them.
PUBLISHED_BOUND_S = {"T4": (180, 234), "V100": (66, 109), "A100": (29, 58), "H100": (14, 34)}


def bound_s(device: str) -> tuple[int, int] | None:
    """Return the published bounds, lower and upper, of the card whose name `device` contains."""
    return next((bound for name, bound in PUBLISHED_BOUND_S.items() if name in device), None)


def measure(store: Path, device: str, batches: int, overrides: list[str]) -> dict[str, Any]:
    """Return the ceiling benchmark in float32 and in mixed precision."""
    settings = configuration.load(configuration.recipe("notebook"), overrides)
    return {
        name: asdict(bench.run("ceiling", store, settings, runtime.resolve(device, amp=amp), num_batches=batches))
        for name, amp in (("float32", False), ("mixed precision", True))
    }


def compare(store: Path, device: str, residencies: Sequence[Residency] = ("host", "device")) -> dict[str, Any]:
    """Return how far the device's batches lie from the CPU's, in grey levels, for every policy in every residency."""
    opened, ours, theirs = open_store(store), runtime.resolve("cpu"), runtime.resolve(device)
    rows = np.arange(min(len(opened), 256))
    found: dict[str, Any] = {}
    for name, policy in POLICIES_COMPARED.items():
        settings = configuration.parse({"data": {"batch_size": 64, "augment": policy}})
        wanted = _images(opened, rows, settings, ours, "host")
        for residency in residencies:
            distance = np.abs(_images(opened, rows, settings, theirs, residency) - wanted) * 255 * np.array(STATS.std_3)
            share = float((distance > 1).any(axis=-1).mean())
            row = {"mean": float(distance.mean()), "max": float(distance.max()), "beyond_one": share}
            found[f"{name}, {residency}"] = row | {"agrees": row["mean"] < MEAN_BOUND}
    return found


def _images(
    store: Store, rows: NDArray[np.int64], settings: Config, where: runtime.Runtime, residency: Residency
) -> NDArray[np.float32]:
    """Return the second epoch of these rows, float32 [N, H, W, 3]."""
    pixels = place(store, rows, residency, where)
    with closing(train_loader(store, rows, STATS, settings, where, pixels)) as loader:
        batches = [batch.images_NCHW.permute(0, 2, 3, 1).cpu().numpy().copy() for batch in loader.epoch(1)]
    return np.concatenate(batches)


def agreement(compared: dict[str, Any]) -> str:
    """Return the Markdown table of `compare`."""
    table = [
        f"Batches against the CPU's, in grey levels of 0 to 255; a mean below {MEAN_BOUND} agrees:",
        "",
        "| policy, residency | mean | largest | pixels beyond one level | |",
        "|---|---|---|---|---|",
    ]
    for name, row in compared.items():
        verdict = "agrees" if row["agrees"] else "**differs**"
        table.append(f"| {name} | {row['mean']:.4f} | {row['max']:.2f} | {row['beyond_one']:.2%} | {verdict} |")
    return "\n".join(table)


def report(found: dict[str, Any]) -> str:
    """Return the Markdown table: rates, the epoch they make, and the bound."""
    table = [
        "| | loader | network | both | stall | epoch, training | notebook's epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        epoch_s = EPOCH_PATCHES / row["train_images_per_s"]
        rates = f"{row['loader_images_per_s']:.0f} | {row['model_images_per_s']:.0f} | {row['train_images_per_s']:.0f}"
        faster = f"{NOTEBOOK_EPOCH_S / epoch_s:.2f}x of its {NOTEBOOK_EPOCH_S:.0f} s"
        table.append(f"| {name} | {rates} | {row['stall_share']:.1%} | {epoch_s:.0f} s | {faster} |")
    device = next(iter(found.values()))["runtime"]
    bound = bound_s(device)
    table += ["", f"On {device}.", *(f"{name}: {row['verdict']}" for name, row in found.items())]
    table += [
        f"Published bound: {bound[0]} to {bound[1]} s an epoch." if bound else "No published bound for this card."
    ]
    return "\n".join(table)


@click.command()
@click.option("--device", default="cuda", show_default=True, help="`cpu` rehearses the check without a card.")
@click.option("--patches", default=4096, show_default=True, help="Synthetic patches to make.")
@click.option("--batches", default=100, show_default=True, help="Batches on each clock.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the notebook recipe.")
def main(device: str, patches: int, batches: int, overrides: tuple[str, ...]) -> None:
    """Check and measure; exit 2 where there is no card."""
    try:
        runtime.resolve(device)
    except UsageError as error:
        click.echo(f"gpu-check: {error}", err=True)
        sys.exit(error.exit_status)
    tests = "gpu" if device == "cuda" else "dali and not gpu"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", tests, "tests/gpu", "tests/data/test_graph.py"], check=False
    )
    with tempfile.TemporaryDirectory() as scratch:
        write_kaggle_folder(Path(scratch) / "kaggle", num_train=patches, num_test=0)
        pack.run(Path(scratch) / "kaggle", Path(scratch) / "store")
        compared = compare(Path(scratch) / "store", device)
        found = measure(Path(scratch) / "store", device, batches, list(overrides))
    table = f"{agreement(compared)}\n\n{report(found)}"
    click.echo(table)
    settings = {"device": device, "patches": patches, "batches": batches, "gpu_tests_exit_status": done.returncode}
    results = {"agreement": compared, "rates": found}
    click.echo(f"→ {harness.write_record(f'gpu-check-{device}', settings, results, table)}")
    sys.exit(done.returncode or int(not all(row["agrees"] for row in compared.values())))


if __name__ == "__main__":
    main()
