"""What the calling thread spends on a batch besides DALI and the network: before and now, in CPU time.

One thread makes the feed, starts the graph and launches the step, so what it spends on a patch bounds the rate of any
card. Measured with `time.thread_time`, which other work on the machine lengthens less than the clock on the wall.
"Before" is the code as it was, in `benchmarks.former`: alternated with the present one, on the same steps.

Usage: python -m benchmarks.suites.host [--folder KAGGLE_FOLDER] [--rounds 7]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import former, harness
from benchmarks.peers.common import MEAN, STD
from fastpath.config import Config, DataConfig
from fastpath.data import loader, step_inputs
from fastpath.data.augment import colour
from fastpath.data.dali import graph
from fastpath.data.residency import StorePixels
from fastpath.data.step_parameters import Recipe
from fastpath.runtime import Runtime, resolve
from fastpath.store.reader import Store, open_store
from fastpath.types import ChannelStats, Samples
from fastpath.workflows import pack

STATS = ChannelStats(MEAN, STD)
POSITIONS = 50_000  # of an epoch, drawn from the store with repeats: 13 chunks of parameters
TURN_PATCHES = 8192  # whose mean is one figure
MOMENT_S, LONG_S = 0.02, 300.0
BEFORE, NOW = "before", "now"


class OnCard:
    """Patches that are there already, as on a card that holds them all: the feed without copying pixels."""

    def __init__(self, store: Store, count: int, frame_px: int) -> None:
        side = store.patch_size_px + 2 * frame_px
        self._images = np.zeros((count, side, side, 3), np.uint8)
        self._probes = store.sampled(np.arange(len(store)), colour.probe_grid(store.patch_size_px))

    def fetch(self, rows_N: NDArray[np.int64], frame_px: int = 0) -> NDArray[np.uint8]:
        """Return as many patches, with the frame that they were made with."""
        return self._images[: len(rows_N)]

    def fetch_with_probes(
        self, rows_N: NDArray[np.int64], frame_px: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the same and their probes."""
        return self.fetch(rows_N), colour.unit_range(self._probes[rows_N])


def cost_us(
    make: Callable[[int], object], steps: range, patches: int, wait: Callable[[int], None] = lambda _: None
) -> float:
    """Return the calling thread's CPU time a patch, in microseconds; what it waits for before a step is left out."""
    spent = 0.0
    for step in steps:
        wait(step)
        began = time.thread_time()
        make(step)
        spent += time.thread_time() - began
    return spent / (len(steps) * patches) * 1e6


def measure(
    store: Store, batch_size: int, rounds: int, runtime: Runtime, positions: int = POSITIONS, turn: int = TURN_PATCHES
) -> dict[str, list[float]]:
    """Return microseconds a patch by what they were spent on, one figure a round.

    Args:
        store: Real patches.
        batch_size: Of a step.
        rounds: Turns of each contestant.
        runtime: One rank on the CPU.
        positions: Of an epoch.
        turn: Patches of a turn.
    """
    rows = np.random.default_rng(0).integers(0, len(store), positions)
    config = Config(data=DataConfig(batch_size=batch_size, sampling="natural"))
    recipe = Recipe(rows, store.labels_N[rows], None, config, STATS, store.patch_size_px)
    pixels, mapped = OnCard(store, batch_size, recipe.frame_px), StorePixels(store)
    steps = max(1, turn // batch_size)
    old = former.training_feed(store, rows, STATS, config, runtime, pixels)
    alone = step_inputs.training_feed(Samples(store, rows, STATS), config, runtime, pixels)
    with closing(
        step_inputs.training_feed(Samples(store, rows, STATS), config, runtime, pixels, ahead_of_time=True)
    ) as feed:
        turns = {name: Turns(steps, batch_size) for name in ("old", "alone", "ahead", "gather")}
        batches = _batches(store, rows, feed, config, runtime)
        order = recipe.order(0)

        def gather(step: int) -> object:
            return mapped.fetch(order[step * batch_size : (step + 1) * batch_size], recipe.frame_px)

        def formerly() -> float:
            with former.former_hue():
                return turns["old"].run(old)

        contestants: dict[str, Callable[[], float]] = {
            f"feed, {BEFORE}": formerly,
            f"feed, {NOW}": lambda: turns["ahead"].run(feed, lambda step: await_ready(feed, step)),
            "feed, made by the step": lambda: turns["alone"].run(alone),
            f"batch, {BEFORE}": lambda: cost_us(batches[BEFORE], range(steps), batch_size),
            f"batch, {NOW}": lambda: cost_us(batches[NOW], range(steps), batch_size),
            "gather": lambda: turns["gather"].run(gather),
        }
        return harness.alternate(contestants, rounds)


class Turns:
    """Steps in their order, some at each turn."""

    def __init__(self, steps: int, batch_size: int) -> None:
        self.coming, self._batch_size = range(0, steps), batch_size

    def run(self, make: Callable[[int], object], wait: Callable[[int], None] = lambda _: None) -> float:
        """Return the CPU time a patch of the steps of this turn."""
        cost = cost_us(make, self.coming, self._batch_size, wait)
        self.coming = range(self.coming.stop, self.coming.stop + len(self.coming))
        return cost


def await_ready(feed: step_inputs.TrainingFeed, step: int) -> None:
    """Wait until a step lies ready: a feed without a network behind it outruns any process."""
    deadline = time.monotonic() + LONG_S
    while not feed.ready(step):
        if time.monotonic() > deadline:
            raise click.ClickException("no parameters were made ahead of time in five minutes")
        feed(step)  # asks for it, and starts the process
        time.sleep(MOMENT_S)


def _batches(
    store: Store, rows: NDArray[np.int64], feed: step_inputs.TrainingFeed, config: Config, runtime: Runtime
) -> dict[str, Callable[[int], object]]:
    """Return what makes a `Batch` out of the graph's outputs, before and now."""
    layout = step_inputs.training_layout(store.patch_size_px, config)
    pipeline = graph.training_graph(feed, 0, layout, config.data.batch_size, runtime, config.data.augment)
    images, rows_output = pipeline.run()
    stream = loader.Stream(lambda _: pipeline, lambda _: len(rows), store.labels_N, runtime)
    labels = np.where(store.labels_N < 0, np.nan, store.labels_N).astype(np.float32)
    return {
        BEFORE: lambda _: former.batch(images, rows_output, len(rows), labels, runtime),
        NOW: lambda _: stream.batch(images, rows_output, len(rows)),
    }


def table_of(figures: dict[str, dict[str, list[float]]]) -> str:
    """Return the table of all batch sizes."""
    lines = ["| CPU µs a patch, median (min to max) | before | now | before / now |", "|---|---|---|---|"]

    def shown(values: list[float]) -> str:
        summary = harness.summary(values)
        return f"{summary['median']:.2f} ({summary['min']:.2f} to {summary['max']:.2f})"

    for batch, microseconds in figures.items():
        both = {
            when: [
                sum(pair) for pair in zip(microseconds[f"feed, {when}"], microseconds[f"batch, {when}"], strict=True)
            ]
            for when in (BEFORE, NOW)
        }
        rows: list[tuple[str, list[float], list[float]]] = [
            ("feed, patches on the card", microseconds[f"feed, {BEFORE}"], microseconds[f"feed, {NOW}"]),
            ("Batch and labels", microseconds[f"batch, {BEFORE}"], microseconds[f"batch, {NOW}"]),
            ("**both: all but DALI and the network**", both[BEFORE], both[NOW]),
            ("feed where nothing lies ready", microseconds[f"feed, {BEFORE}"], microseconds["feed, made by the step"]),
        ]
        for name, old, new in rows:
            ratio = harness.ratios({NOW: old, "": new}, NOW)[""]["median"]
            lines.append(f"| batch {batch}: {name} | {shown(old)} | {shown(new)} | {ratio:.1f} |")
        lines.append(
            f"| batch {batch}: gather from the store, on the CPU | as now | {shown(microseconds['gather'])} | |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--rounds", type=int, default=7, show_default=True)
def main(folder: Path | None, rounds: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        pack.pack_source(folder, Path(scratch) / "store")
        store = open_store(Path(scratch) / "store")
        figures = {str(size): measure(store, size, rounds, resolve("cpu")) for size in (64, 256, 1024)}
    table = table_of(figures)
    click.echo(table)
    setup: dict[str, Any] = {
        "policy": "the notebook's, at 224 px",
        "clock": "CPU time of the calling thread (time.thread_time)",
        "positions_an_epoch": POSITIONS,
        "patches_a_figure": TURN_PATCHES,
        "rounds": rounds,
        "bounds": "feed at batch 64: before / now at least 10; both at batch 64: now at most 5 µs. Both leave out "
        "the gather, which a card that holds the patches does itself, and DALI's own Python",
    }
    click.echo(f"→ {harness.write_record('host', setup, figures, table)}")


if __name__ == "__main__":
    main()
