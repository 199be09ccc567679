"""Stage: how long a checkpoint holds the thread that trains, and how large it is."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.card import patches
from benchmarks.card.check import Check
from fastpath.config import TrainConfig
from fastpath.engine.loop import Event, StepEvent
from fastpath.workflows import run_directory, train

EVERY, SAVES = 10, 4
BY_STEPS = "checkpoint_steps" in TrainConfig.model_fields  # or by time, of which a step is then made the measure
OFTEN = "train.checkpoint_steps=2" if BY_STEPS else "train.checkpoint_minutes=1e-6"


def tell(check: Check) -> None:
    """Tell how much longer a step takes that is followed by a checkpoint, every step being waited for."""
    runtime = check.runtime()
    batch, every = (2, 4) if check.tiny else (32, EVERY)
    steps = every * SAVES + every // 2
    changes = [f"data.batch_size={batch}", "data.val_limit=8", "train.epochs=1", f"data.limit={batch * steps}"]
    ends: list[tuple[int, float]] = []
    often, how = after_steps(every, lambda: len(ends))
    config = check.config(*changes, often)

    def listen(event: train.StartEvent | Event) -> None:
        if isinstance(event, StepEvent):
            runtime.synchronize()
            ends.append((event.step, time.perf_counter()))

    run_dir = check.scratch / "saves"
    train.run(patches.store(check), run_dir, config, runtime, on_event=listen, **how)
    held, others = gaps(ends, every)
    # How long it takes until each is on the disk, where a thread writes it, is not seen from here.
    size = (run_dir / run_directory.LAST).stat().st_size
    apart = statistics.median(held) - statistics.median(others)
    about = {"mib": round(size / 2**20, 1), "saves": len(held), "every_steps": every}
    check.tell("saves", **about, held_s=round(apart, 4), longest_s=round(max(held), 4))


def after_steps(every: int, taken: Callable[[], int]) -> tuple[str, dict[str, Any]]:
    """Return the setting, and the arguments of `train.run`, by which it saves after every so many steps."""
    if BY_STEPS:
        return f"train.checkpoint_steps={every}", {}
    # Asked within a step's end, before the step is counted: a minute has passed at every so many.
    return "train.checkpoint_minutes=1", {"clock": lambda: 60.0 * ((taken() + 1) // every)}


def gaps(ends: list[tuple[int, float]], every: int) -> tuple[list[float], list[float]]:
    """Return the seconds before the end of each step that was saved, and of each other; the first ones start things."""
    held: list[float] = []
    others: list[float] = []
    for (_, before), (step, now) in itertools.pairwise(ends):
        if step > every // 2:
            (others if step % every else held).append(now - before)
    return held, others
