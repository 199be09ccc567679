"""What a run keeps, written in a thread beside training.

Training copies its state aside and goes on; the thread waits for the copy, judges it and writes it. There is room for
one copy, so one save at a time: the next waits for the one before, which it does only where a disk takes longer for one
than training for what lies between two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from fastpath.engine.checkpoint import Checkpoint, save_checkpoint
from fastpath.engine.loop import EpochEvent, Event
from fastpath.engine.snapshot import Snapshot
from fastpath.engine.stages import Stage
from fastpath.runs import run_directory as directory
from fastpath.runtime import Arrival, Runtime

CURVES_S = 60.0
"""Least seconds between two drawings of the curves before the run's end. Drawing is Python throughout, so it takes
turns with the thread that launches the steps: each of the hundreds of operations of a step may wait for one."""


class Saver:
    """Keeps what training's events leave to be kept. Nothing, where another rank writes.

    Leaving the block waits until all is written; after an error in it, for what was begun.
    """

    def __init__(
        self,
        run_dir: Path,
        capture: Callable[[], Checkpoint],
        runtime: Runtime,
        *,
        minutes: float,
        title: str,
        stages: Sequence[Stage],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            run_dir: Where to write.
            capture: Returns where the run stands, sharing tensors with training.
            runtime: Whose first rank writes.
            minutes: Between two saves within an epoch; 0 saves at its end only.
            title: Above the curves.
            stages: The run's stages, which tell its learning rates.
            clock: Seconds since any moment.
        """
        self._run_dir, self._capture, self._clock = run_dir, capture, clock
        self._title, self._stages = title, stages
        self._writes, self._every_s = runtime.rank == 0, 60 * minutes or math.inf
        self._snapshot, self._kept = Snapshot(runtime), (-1, -1)
        self._thread = ThreadPoolExecutor(1, "fastpath-save")
        self._pending: Future[None] | None = None
        self._saved_s = self._drawn_s = clock()
        # A process that was killed may have kept all epochs and died as it drew them.
        self._undrawn = self._writes and directory.has_epochs(run_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._thread:  # which waits for what was begun, whatever is raised
            if kind is None:
                self.wait()
                self._thread.submit(self._draw).result()
            elif issubclass(kind, Exception):  # the error in the block is the one to tell
                with suppress(Exception):
                    self._thread.submit(self._draw).result()

    def after(self, event: Event) -> None:
        """Keep an epoch that ended, or where the run stands if it is time to.

        Raises:
            FastpathError: What was begun earlier could not be written, as on a full disk.
        """
        if self._pending is not None and self._pending.done():
            self.wait()
        if isinstance(event, EpochEvent):
            self._put(partial(self._record, event), again=True)
        elif self._clock() - self._saved_s >= self._every_s:
            self.save()

    def save(self) -> None:
        """Keep where the run stands, unless that is kept already.

        Raises:
            FastpathError: What was begun earlier could not be written.
        """
        self._put(partial(save_checkpoint, path=self._run_dir / directory.LAST))

    def wait(self) -> None:
        """Wait until what was begun is written.

        Raises:
            FastpathError: It could not be.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _put(self, write: Callable[[Checkpoint], None], *, again: bool = False) -> None:
        """Let the thread write where the run stands; a place that is kept already only where that is told to."""
        if not self._writes:
            return
        checkpoint = self._capture()
        place = checkpoint.epoch, checkpoint.step
        if place == self._kept and not again:
            return
        self.wait()  # the room for the copy is read until then
        copied, arrival = self._snapshot.take(checkpoint)
        self._saved_s, self._kept = self._clock(), place
        self._pending = self._thread.submit(_write, copied, arrival, write)

    def _record(self, event: EpochEvent, checkpoint: Checkpoint) -> None:
        directory.record_epoch(self._run_dir, event, checkpoint)
        self._undrawn = True
        if self._clock() - self._drawn_s >= CURVES_S:
            self._draw()

    def _draw(self) -> None:
        """Draw the curves, unless they are as they were."""
        if self._undrawn:
            directory.draw_training(self._run_dir, self._title, self._stages)
            self._drawn_s, self._undrawn = self._clock(), False


def _write(checkpoint: Checkpoint, arrival: Arrival, write: Callable[[Checkpoint], None]) -> None:
    """Write a copy once it has arrived, unless a loss that is not finite has spoilt it: the guard will tell of that."""
    arrival.synchronize()
    if math.isfinite(checkpoint.loss_sum.item()):
        write(checkpoint)
