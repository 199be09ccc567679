"""Stage: whole epochs through `train` itself, checkpoints and curves included, at the size of the notebook's set."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.card import patches
from benchmarks.card.check import Check
from benchmarks.card.device import Watch, peak
from fastpath.config import Config
from fastpath.engine.loop import EpochEvent, Event, StepEvent
from fastpath.runtime import Runtime
from fastpath.workflows.bench import roofline
from fastpath.workflows.train import train

SETTLED = 100  # steps of an epoch after which nothing is started or chosen any more


def tell(check: Check) -> None:
    """Tell of an epoch of the notebook's, of two of the fast recipe's at its first size, and of one at its last."""
    runtime = check.runtime()
    courses = {"notebook": check.config("train.epochs=1"), "fast": _fast(check)}
    for recipe, config in courses.items():
        with Watch() as watch:
            epochs = Epochs(check, recipe, config, runtime, watch)
            train.train_run(
                patches.whole(check), check.scratch / f"epochs-{recipe}", config, runtime, on_event=epochs.listen
            )


def _fast(check: Check) -> Config:
    """Return the fast recipe with two epochs, not four, in its first stage: the second has nothing left to start."""
    config = check.config(recipe="fast")
    first, last = config.stages
    if check.tiny:
        first, last = (stage.model_copy(update={"data": config.data}) for stage in (first, last))
    stages = (first.model_copy(update={"epochs": 2}), last)
    return config.model_copy(update={"stages": stages, "train": config.train.model_copy(update={"epochs": 3})})


class Epochs:
    """Listens to a run and tells of each epoch as it ends.

    Args:
        check: Where to tell.
        recipe: The run's name.
        config: Its configuration.
        runtime: Its device.
        watch: What the card does meanwhile.
    """

    def __init__(self, check: Check, recipe: str, config: Config, runtime: Runtime, watch: Watch) -> None:
        self._check, self._recipe, self._config, self._runtime, self._watch = check, recipe, config, runtime, watch
        self._clock = time.perf_counter()  # when the run, then the epoch, began
        self._cpu = self._settled = self._last = 0.0
        self._steps = self._settled_images = 0

    def listen(self, event: train.StartEvent | Event) -> None:
        """Take the time of what matters. Hears of a checkpoint's step, and of an epoch, after they are saved."""
        now = time.perf_counter()
        if isinstance(event, StepEvent):
            self._step(event, now)
        elif isinstance(event, EpochEvent):
            self._epoch(event, now)

    def _step(self, event: StepEvent, now: float) -> None:
        if event.step == 1:
            if event.epoch == 0:
                self._check.tell("epochs", recipe=self._recipe, start_s=round(now - self._clock, 2))
                self._clock = now
            self._cpu, self._settled, self._settled_images = time.thread_time(), now, 0
        elif event.step == min(SETTLED, event.num_steps // 2):
            self._settled, self._settled_images = now, 0
        else:
            self._settled_images += event.num_images
        self._steps, self._last = event.step, now

    def _epoch(self, event: EpochEvent, now: float) -> None:
        timing, wall = event.timing, now - self._clock
        cpu_ms = 1e3 * (time.thread_time() - self._cpu) / max(self._steps, 1)
        rate = self._settled_images / max(self._last - self._settled, 1e-9)
        timings: dict[str, Any] = {
            "epoch": event.epoch,
            "size_px": self._size(event.epoch),
            "epoch_s": round(wall, 2),
            "times_the_notebook": round(roofline.NOTEBOOK_EPOCH_S / wall, 1),
            "train_s": round(timing.train_s, 2),
            "val_s": round(timing.val_s, 2),
            "rest_s": round(wall - timing.train_s - timing.val_s, 2),  # checkpoints, curves
            "images_per_s": round(timing.images_per_s, 1),
            "settled_images_per_s": round(rate, 1),
            "stall_share": round(timing.stall_share, 4),
            "cpu_ms": round(cpu_ms, 3),
        }
        self._check.tell("epochs", recipe=self._recipe, **timings, **peak(self._runtime), **self._watch.so_far())
        self._clock = now

    def _size(self, epoch: int) -> int:
        """Return the size of input in a 1-based epoch."""
        last = 0
        for stage in self._config.stages:
            last += stage.epochs
            if epoch <= last:
                return stage.data.image_size_px
        return self._config.data.image_size_px
