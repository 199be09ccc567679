"""Stage: how long a checkpoint holds the thread that trains, and how large it is."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

from benchmarks.card import patches
from benchmarks.card.check import Check
from fastpath.engine.loop import Event, StepEvent
from fastpath.runs import run_directory
from fastpath.workflows.train import train

EVERY, SAVES = 10, 4
OFTEN = "train.checkpoint_minutes=1e-6"


def tell(check: Check) -> None:
    """Tell how much longer a step takes that is followed by a checkpoint, every step being waited for."""
    runtime = check.runtime()
    batch, every = (2, 4) if check.tiny else (32, EVERY)
    steps = every * SAVES + every // 2
    changes = [f"data.batch_size={batch}", "data.val_limit=8", "train.epochs=1", f"data.limit={batch * steps}"]
    ends: list[tuple[int, float]] = []
    config = check.config(*changes, "train.checkpoint_minutes=1")

    def listen(event: train.StartEvent | Event) -> None:
        if isinstance(event, StepEvent):
            runtime.synchronize()
            ends.append((event.step, time.perf_counter()))

    run_dir = check.scratch / "saves"
    train.train_run(
        patches.store(check), run_dir, config, runtime, on_event=listen, clock=by_steps(every, lambda: len(ends))
    )
    held, others = gaps(ends, every)
    # How long it takes until each is on the disk, where a thread writes it, is not seen from here.
    size = (run_dir / run_directory.LAST).stat().st_size
    apart = statistics.median(held) - statistics.median(others)
    about = {"mib": round(size / 2**20, 1), "saves": len(held), "every_steps": every}
    check.tell("saves", **about, held_s=round(apart, 4), longest_s=round(max(held), 4))


def by_steps(every: int, taken: Callable[[], int]) -> Callable[[], float]:
    """Return a clock by which a minute has passed at every so many steps, as many being `taken`."""
    # Asked within a step's end, before the step is counted.
    return lambda: 60.0 * ((taken() + 1) // every)


def gaps(ends: list[tuple[int, float]], every: int) -> tuple[list[float], list[float]]:
    """Return the seconds before the end of each step that was saved, and of each other; the first ones start things."""
    held: list[float] = []
    others: list[float] = []
    for (_, before), (step, now) in itertools.pairwise(ends):
        if step > every // 2:
            (others if step % every else held).append(now - before)
    return held, others
