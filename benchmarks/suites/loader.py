"""Images a second out of a loader, with no model behind it: fastpath against its peers on the same patches.

Usage: python -m benchmarks.suites.loader [--folder KAGGLE_FOLDER] [--mode train|val] [--size 224] [--rounds 5]
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks import harness
from fastpath.workflows import pack

CONTESTANTS = {"fastpath": "benchmarks.peers.fastpath_loader", "notebook": "benchmarks.peers.notebook"}


def measure(module: str, arguments: list[str]) -> float:
    """Run one contestant in a process of its own; returns images a second."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"{module} failed:\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1])["images_per_s"])


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--mode", type=click.Choice(["train", "val"]), default="train", show_default=True)
@click.option("--size", type=int, default=224, show_default=True, help="Side of the output, in pixels.")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--batches", type=int, default=50, show_default=True, help="Batches of 64 on the clock.")
def main(folder: Path | None, mode: str, size: int, rounds: int, batches: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    settings = {"mode": mode, "image_size_px": size, "batch_size": 64, "threads": 2, "warm": 12, "batches": batches}
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store"
        pack.run(folder, store)
        arguments = [f"--folder={folder}", f"--store={store}"]
        arguments += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        runs = {name: functools.partial(measure, module, arguments) for name, module in CONTESTANTS.items()}
        figures = harness.alternate(runs, rounds)
    ratios = harness.ratios(figures, of="fastpath")
    table = ["| loader | images/s, median (min to max) | fastpath is faster by |", "|---|---|---|"]
    for name, values in figures.items():
        found, ratio = harness.summary(values), ratios.get(name)
        faster = f"{ratio['median']:.2f}x ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else ""
        table.append(f"| {name} | {found['median']:.0f} ({found['min']:.0f} to {found['max']:.0f}) | {faster} |")
    click.echo("\n".join(table))
    settings |= {"rounds": rounds, "data": f"{folder.name}, real patches, files and store in the page cache"}
    results = {"images_per_s": figures, "ratios": ratios}
    click.echo(f"→ {harness.write_record(f'loader-{mode}-{size}', settings, results, chr(10).join(table))}")


if __name__ == "__main__":
    main()
