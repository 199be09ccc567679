"""Stage: training loops in turns on one card: fastpath's, the notebook's own, and what a strong user would write."""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import click

from benchmarks import harness
from benchmarks.card import patches
from benchmarks.card.check import Check
from benchmarks.suites.loader import Contestant, Running
from benchmarks.suites.train_step import FAST, NUM_TRAIN

OURS, NOTEBOOK = "fastpath train --amp", "the notebook's loop"
CONTESTANTS = {
    OURS: Contestant("fastpath_loop"),
    NOTEBOOK: Contestant("notebook_loop"),
    "the notebook's loop, a worker a core": Contestant("notebook_loop", "all-cores"),
    "a strong user's loop": Contestant("strong_loop"),
    "a strong user's loop, one draw a batch": Contestant("strong_loop", "batch"),
    "fastpath, fast recipe at 96 px": Contestant("fastpath_loop", f"{FAST},data.image_size_px=96,data.batch_size=128"),
}
# What a rehearsal has time for; the fast recipe's step at its size and the compiler's minute prove nothing more.
REHEARSED = {
    OURS: Contestant("fastpath_loop", "model.name=test_resnet"),
    "a strong user's loop, one draw a batch": Contestant("strong_loop", "batch,eager"),
}
ROUNDS, BATCHES = 2, 100  # of a turn, or what four seconds allow
ENDS = {"": "median", "_min": "min", "_max": "max"}
WARM = 40  # more batches than 16 workers prefetch


def tell(check: Check) -> None:
    """Tell of every turn, then of each loop's median and of how many times faster fastpath's is."""
    entrants = REHEARSED if check.tiny else CONTESTANTS
    with ExitStack() as stack:
        running = {}
        for name, contestant in entrants.items():
            running[name] = Running(contestant, _arguments(check))
            stack.callback(running[name].close)
        # Side by side, so that what one compiles costs the others' time to start and not the check's.
        with ThreadPoolExecutor(len(running)) as threads:
            started = {name: threads.submit(process.ask, describe=1) for name, process in running.items()}
        for name, future in started.items():
            _introduce(check, name, future.exception() or future.result(), running)
        figures: dict[str, list[float]] = {name: [] for name in running}
        for turn in range(1 if check.tiny else ROUNDS):
            for name, process in running.items():
                timed = process.ask(batches=2 if check.tiny else BATCHES)
                figures[name].append(timed["images_per_s"])
                check.tell("loops", name=name, turn=turn + 1, images_per_s=round(figures[name][-1], 1))
    _compare(check, figures)


def _arguments(check: Check) -> list[str]:
    sizes = {"image-size-px": 224, "batch-size": 64, "warm": WARM, "threads": len(os.sched_getaffinity(0))}
    sizes |= {"image-size-px": 32, "batch-size": 4, "warm": 1, "threads": 1} if check.tiny else {}
    paths = [f"--folder={patches.kaggle(check)}", f"--store={patches.store(check)}", f"--device={check.device}"]
    return [*paths, "--mode=train", *(f"--{name}={value}" for name, value in sizes.items())]


def _introduce(check: Check, name: str, description: object, running: dict[str, Running]) -> None:
    """Tell what a loop does otherwise than the notebook, or why it is left out."""
    if isinstance(description, dict):
        check.tell(
            "loops", name=name, differs="; ".join(description["differs"]) or "nothing", positive=description["positive"]
        )
    else:
        reason = description.message if isinstance(description, click.ClickException) else repr(description)
        check.tell("loops", name=name, left_out=reason)
        running.pop(name).close()


def _compare(check: Check, figures: dict[str, list[float]]) -> None:
    """Tell of medians, of ratios taken within a round, and of the notebook's training patches at that rate."""
    for name, values in figures.items():
        middle = statistics.median(values)
        row = {"median_images_per_s": round(middle, 1), "epoch_training_s": round(NUM_TRAIN / middle, 1)}
        if OURS in figures and name != OURS:
            ratio = harness.ratios({OURS: figures[OURS], name: values}, of=OURS)[name]
            row |= {f"fastpath_times_as_fast{end}": round(ratio[key], 2) for end, key in ENDS.items()}
        check.tell("loops", name=name, **row)
