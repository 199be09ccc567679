"""The one command for the first person with a card: does fastpath work there, and how fast is it?

Runs the `gpu` tests, then measures loader, network and both together at the notebook's settings, in float32 and in
mixed precision, on synthetic patches, and writes one record with the published bound beside each figure.

Usage: make gpu-check     (or: python tools/gpu_check.py [--device cuda] [--patches 4096] [--batches 100])
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import harness
from fastpath import config as configuration
from fastpath import runtime
from fastpath.errors import UsageError
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.workflows import bench, pack

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
        found = measure(Path(scratch) / "store", device, batches, list(overrides))
    table = report(found)
    click.echo(table)
    settings = {"device": device, "patches": patches, "batches": batches, "gpu_tests_exit_status": done.returncode}
    click.echo(f"→ {harness.write_record(f'gpu-check-{device}', settings, found, table)}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
