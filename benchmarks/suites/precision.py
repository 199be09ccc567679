"""Does `--amp` choose the faster precision? Training steps in it against float32 and bfloat16, alternated.

Usage: python -m benchmarks.suites.precision [--rounds 5] [--batch-size 32] [--sizes 96,224] [--emulated]

Random weights, normalised noise, the recipes' own optimiser and frozen part. `--amp` is what `fastpath train --amp`
would decide on this machine, measured anew. On a CPU without bfloat16 it is float32; `--emulated` times bfloat16 there
too.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import click

from benchmarks import harness
from fastpath import config, runtime
from fastpath.config import Config
from fastpath.runs.lone_step import training_step
from fastpath.runs.precision import cpu_name, settle, synthetic

RECIPES = {
    "ResNet-50, layer4 and head": "notebook",
    "EfficientNet-Lite0": "efficientnet_lite0",
    "baseline CNN": "baseline_cnn",
}
AMP, FLOAT32, BFLOAT16 = "--amp", "float32", "bfloat16"
WANTED = 0.97  # of the faster precision's rate


def contestants(settings: Config, batch_size: int, *, emulated: bool) -> tuple[dict[str, Callable[[], float]], str]:
    """Return what takes a step in each precision and tells its patches a second; and what `--amp` chose.

    Args:
        settings: The network and its training.
        batch_size: Patches a step.
        emulated: Time bfloat16 where the CPU has no instructions for it, too.
    """
    asked = runtime.resolve("cpu", amp=True)
    settled = settle(asked, settings)
    plain = replace(settled, precision="float32", notice="")
    runtimes = {AMP: settled, FLOAT32: plain}
    if asked.tentative or emulated:
        runtimes[BFLOAT16] = replace(plain, precision="bfloat16")
    batch = synthetic(settings.data.image_size_px, batch_size)
    runs: dict[str, Callable[[], float]] = {}
    for name, resolved in runtimes.items():
        step = functools.partial(training_step(settings, resolved), batch)
        step()  # torch and oneDNN prepare in the first
        runs[name] = functools.partial(rate, step, batch_size)
    return runs, settled.precision


def rate(step: Callable[[], object], batch_size: int, count: int = 2) -> float:
    """Return patches a second of some steps."""
    began = time.perf_counter()
    for _ in range(count):
        step()
    return count * batch_size / (time.perf_counter() - began)


def share_of_faster(figures: Mapping[str, list[float]]) -> float:
    """Return the median rate of `--amp` over that of the fastest of the others."""
    medians = {name: statistics.median(values) for name, values in figures.items()}
    return medians[AMP] / max(value for name, value in medians.items() if name != AMP)


def row(name: str, figures: Mapping[str, list[float]], chosen: str) -> str:
    """Return a network's line of the table."""
    cells = []
    for precision in (FLOAT32, BFLOAT16, AMP):
        timed = harness.summary(figures[precision]) if precision in figures else None
        cells.append(
            "not timed" if timed is None else f"{timed['median']:.1f} ({timed['min']:.1f} to {timed['max']:.1f})"
        )
    share = share_of_faster(figures)
    return f"| {name} | {' | '.join(cells)} | {chosen} | {share:.2f}{'' if share >= WANTED else ', short of it'} |"


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--sizes", default="96,224", show_default=True, help="Sides of the input, in pixels.")
@click.option("--names", default=",".join(RECIPES.values()), show_default=True, help="Recipes.")
@click.option("--emulated", is_flag=True, help="Time bfloat16 on a CPU without instructions for it, too.")
def main(rounds: int, batch_size: int, sizes: str, names: str, emulated: bool) -> None:
    """Measure, print and write a record."""
    figures: dict[str, dict[str, list[float]]] = {}
    head = [f"| training, batch {batch_size} | float32 | bfloat16 | `--amp` | which is | of the faster |"]
    table = [*head, "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["FASTPATH_CACHE_DIR"] = scratch  # decide anew
        for title, recipe in RECIPES.items():
            for size in (int(text) for text in sizes.split(",") if recipe in names.split(",")):
                changes = [f"data.image_size_px={size}", "model.pretrained=false"]
                settings = config.load(config.recipe(recipe), changes)
                runs, chosen = contestants(settings, batch_size, emulated=emulated)
                name = f"{title}, {size} px"
                figures[name] = harness.alternate(runs, rounds)
                table.append(row(name, figures[name], chosen))
    wanted = f"Patches a second, median (extremes) of {rounds}; {WANTED} of the faster is wanted."
    text = "\n".join([*table, "", wanted])
    click.echo(text)
    setup = {"cpu": cpu_name(), "rounds": rounds, "batch_size": batch_size, "bfloat16": runtime.cpu_has_bfloat16()}
    click.echo(f"→ {harness.write_record('precision', setup, figures, text)}")


if __name__ == "__main__":
    main()
