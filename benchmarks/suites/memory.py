"""Memory of a training run over 20 epochs: its peak, and whether it grows.

Usage: python -m benchmarks.suites.memory [--folder KAGGLE_FOLDER] [--epochs 20]

The notebook's baseline network at 64 pixels on 512 real patches, validating on 256: everything that a run does at an
epoch's end (journal, checkpoints, curves) happens 20 times.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import click

from benchmarks import harness
from fastpath import config, runtime
from fastpath.engine.loop import EpochEvent
from fastpath.workflows import pack
from fastpath.workflows.train import train

SETTLED = 3  # epochs until caches, pools and the first figure are there
SETTINGS = ("data.image_size_px=64", "data.limit=512", "data.val_limit=256", "train.ema_decay=0.99")


def memory_mib(what: str) -> float:
    """Return a line of this process's status in MiB: `VmRSS`, its memory now, or `VmHWM`, the most it had."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(rf"{what}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--epochs", type=click.IntRange(min=SETTLED + 1), default=20, show_default=True)
def main(folder: Path | None, epochs: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    settings = config.load(config.recipe("baseline_cnn"), [*SETTINGS, f"train.epochs={epochs}"])
    resident: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, EpochEvent):
            resident.append(memory_mib("VmRSS"))
            click.echo(f"epoch {event.epoch:2d}  {resident[-1]:8.1f} MiB")

    with tempfile.TemporaryDirectory() as scratch:
        pack.pack_source(folder, Path(scratch) / "store")
        before = memory_mib("VmRSS")
        train.train_run(
            Path(scratch) / "store", Path(scratch) / "run", settings, runtime.resolve("cpu"), on_event=listen
        )
    peak, growth = memory_mib("VmHWM"), resident[-1] - resident[SETTLED - 1]
    share = growth / resident[SETTLED - 1]
    table = (
        f"| | MiB |\n|---|---|\n| before training | {before:.0f} |\n| after epoch 1 | {resident[0]:.0f} |\n"
        f"| after epoch {SETTLED} | {resident[SETTLED - 1]:.0f} |\n| after epoch {epochs} | {resident[-1]:.0f} |\n"
        f"| peak | {peak:.0f} |\n| growth from epoch {SETTLED} to {epochs} | {growth:+.1f} ({share:+.2%}) |"
    )
    click.echo(table)
    setup = {"network": "baseline_cnn", "epochs": epochs, "settings": " ".join(SETTINGS)}
    path = harness.write_record("train-memory", setup, {"resident_mib": resident, "peak_mib": peak}, table)
    click.echo(f"→ {path}")


if __name__ == "__main__":
    main()
