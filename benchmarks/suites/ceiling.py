"""Loader and network together: ResNet-50 at 224 on real patches, the share of time it waits, and the device's bound.

Usage: python -m benchmarks.suites.ceiling [--folder KAGGLE_FOLDER] [--rounds 3] [--batches 4]
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks import harness
from fastpath import config
from fastpath.runtime import resolve
from fastpath.workflows import pack
from fastpath.workflows.bench import bench

RATES = ("gather_images_per_s", "loader_images_per_s", "model_images_per_s", "train_images_per_s", "stall_share")


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--batches", type=int, default=4, show_default=True, help="Batches of 64 on each clock.")
def main(folder: Path | None, rounds: int, batches: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    settings = config.load(config.recipe("notebook"), ["model.pretrained=false"])
    runtime = resolve("cpu", amp=True)
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store"
        pack.pack_source(folder, store)
        measured = [
            asdict(bench.run_benchmark("ceiling", store, settings, runtime, num_batches=batches)) for _ in range(rounds)
        ]
    figures = {name: [float(result[name]) for result in measured] for name in (*RATES, "bound_images_per_s")}
    table = ["| | median (min to max) |", "|---|---|"]
    for name, values in figures.items():
        summary = harness.summary(values)
        digits = 4 if name == "stall_share" else 1
        spread = f"{summary['median']:.{digits}f} ({summary['min']:.{digits}f} to {summary['max']:.{digits}f})"
        table.append(f"| {name.replace('_', ' ')} | {spread} |")
    table += [f"| {name.replace('_', ' ')} | {measured[-1][name]:.1f} |" for name in ("step_gflop", "peak_gflop_per_s")]
    click.echo("\n".join(table))
    last = measured[-1]
    setup = {"runtime": last["runtime"], "verdict": last["verdict"], "batches": batches, "rounds": rounds}
    click.echo(f"→ {harness.write_record('ceiling', setup, figures, chr(10).join(table))}")


if __name__ == "__main__":
    main()
