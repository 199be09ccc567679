"""What the loader's own settings cost or gain: batch size, threads, prefetched batches, size of the image, border.

Each row changes one of them from the base: batches of 64, 2 threads, 2 batches prefetched, 224 pixels, black corners.

Usage: python -m benchmarks.suites.settings [--folder KAGGLE_FOLDER] [--rounds 3]
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import click
import numpy as np

from benchmarks import harness
from benchmarks.peers.common import MEAN, STD
from fastpath.config import parse
from fastpath.data import loader
from fastpath.data.dali import graph
from fastpath.runtime import resolve
from fastpath.store.reader import Store, open_store
from fastpath.types import Batch, ChannelStats, Samples
from fastpath.workflows import pack

WARM_PATCHES, PATCHES = 512, 1536  # before each start of the clock, and on it


@dataclass(frozen=True)
class Settings:
    """What may be changed of a loader."""

    batch_size: int = 64
    threads: int = 2
    prefetch: int = graph.PREFETCH
    image_size_px: int = 224
    border: str = "black"


BASE = Settings()
VARIANTS = {"base": BASE}
VARIANTS |= {f"batches of {size}": replace(BASE, batch_size=size) for size in (16, 32, 128, 256)}
VARIANTS |= {f"{count} thread{'s' * (count > 1)}": replace(BASE, threads=count) for count in (1, 4)}
VARIANTS |= {f"{count} prefetched": replace(BASE, prefetch=count) for count in (1, 3, 4)}
VARIANTS |= {f"{size} px": replace(BASE, image_size_px=size) for size in (96, 128, 160)}
VARIANTS |= {f"border {name}": replace(BASE, border=name) for name in ("clamp", "reflect")}


def batches_of(store: Store, settings: Settings, stack: ExitStack) -> Iterator[Batch]:
    """Return training batches without end; the pipeline is built before the first of them is asked for."""
    asked = {"batch_size": settings.batch_size, "image_size_px": settings.image_size_px}
    config = parse({"data": asked | {"augment": {"border": settings.border}}})
    rows, runtime = np.arange(len(store)), resolve("cpu", num_threads=settings.threads)
    made = stack.enter_context(
        closing(loader.train_loader(Samples(store, rows, ChannelStats(MEAN, STD)), config, runtime))
    )
    endless = (batch for epoch in range(10**6) for batch in made.epoch(epoch))
    with mock.patch.object(graph, "PREFETCH", settings.prefetch):
        next(endless)
    return endless


def rate(batches: Iterator[Batch]) -> float:
    """Return patches a second of one turn, once what was prefetched while idle is used up."""
    for wanted in (WARM_PATCHES, PATCHES):
        seen, began = 0, time.perf_counter()
        while seen < wanted:
            seen += len(next(batches).labels_N)
    return seen / (time.perf_counter() - began)


def table_of(figures: dict[str, list[float]]) -> str:
    """Return the Markdown table: medians with extremes, and the ratio to the base round by round."""
    ratios = harness.ratios(figures, of="base")
    table = ["| settings | patches/s, median (min to max) | against the base |", "|---|---|---|"]
    for name, values in figures.items():
        summary = harness.summary(values)
        times = f"{1 / ratios[name]['median']:.2f}x" if name in ratios else ""
        table.append(f"| {name} | {summary['median']:.0f} ({summary['min']:.0f} to {summary['max']:.0f}) | {times} |")
    return "\n".join(table)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--rounds", type=int, default=3, show_default=True)
def main(folder: Path | None, rounds: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        pack.pack_source(folder, Path(scratch) / "store")
        store = open_store(Path(scratch) / "store")
        turns: dict[str, Callable[[], float]] = {
            name: functools.partial(rate, batches_of(store, settings, stack)) for name, settings in VARIANTS.items()
        }
        figures = harness.alternate(turns, rounds)
    table = table_of(figures)
    click.echo(table)
    setup = {"base": str(BASE), "patches_on_the_clock": PATCHES, "rounds": rounds}
    click.echo(f"→ {harness.write_record('settings', setup, {'images_per_s': figures}, table)}")


if __name__ == "__main__":
    main()
