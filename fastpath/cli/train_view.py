"""What training looks like in a terminal: below the lines that it says (`workflows.train.train_lines`), a bar."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskID, TimeRemainingColumn

from fastpath.cli import render

if TYPE_CHECKING:
    from fastpath.engine.loop import Event, StepEvent
    from fastpath.runtime import Runtime
    from fastpath.workflows.train.train_lines import StartEvent

# A line is written no more often than the eye needs.
_REFRESH_S = 0.5


class TrainView:
    """Shows a bar of training events on standard error; none below verbosity 0.

    Attributes:
        start: What was told before the first step; None until then.
    """

    def __init__(self, verbosity: int, runtime: Runtime) -> None:
        from fastpath.engine.snapshot import LateScalar

        columns = (
            render.text_column("{task.description}"),
            BarColumn(bar_width=24),
            render.text_column("{task.completed}/{task.total}"),
            render.text_column("{task.fields[state]}"),
            TimeRemainingColumn(),
        )
        self._quiet = verbosity < 0
        self._bar = Progress(*columns, console=render.stderr, disable=not render.bars_move(verbosity), transient=True)
        self._task: TaskID | None = None
        self.start: StartEvent | None = None
        self._loss = LateScalar(runtime)
        self._epoch_images = 0
        self._epoch_began = self._shown = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, event: StartEvent | Event) -> None:
        """Take one event of the training workflow."""
        from fastpath.engine.loop import EpochEvent, StepEvent, ValidationEvent
        from fastpath.workflows.train.train_lines import StartEvent

        if isinstance(event, StartEvent):
            self.start = event
        if self._quiet:
            return
        if isinstance(event, StepEvent):
            self._step(event)
        elif isinstance(event, ValidationEvent):
            self._validation(event.epoch, event.num_images)
        elif isinstance(event, EpochEvent):
            self._restart()
        else:
            self._begin(event)

    def _begin(self, start: StartEvent) -> None:
        self._task = self._bar.add_task("epoch", total=start.num_steps, state="")
        self._restart()

    def _restart(self) -> None:
        self._epoch_images, self._epoch_began, self._shown = 0, time.monotonic(), 0.0

    def _step(self, event: StepEvent) -> None:
        assert self._task is not None
        assert self.start is not None
        self._epoch_images += event.num_images
        now = time.monotonic()
        if now - self._shown < _REFRESH_S and event.step < event.num_steps:
            return
        self._shown = now
        rate = self._epoch_images / max(now - self._epoch_began, 1e-9)
        loss = self._loss.look(
            event.loss
        )  # on a card that of some steps ago, as this one's would have to be waited for
        self._bar.update(
            self._task,
            description=f"epoch {event.epoch + 1}/{self.start.num_epochs}",
            completed=event.step,
            total=event.num_steps,
            state=f"{rate:,.0f} img/s  stall {event.stall_share:.0%}" + ("" if loss is None else f"  loss {loss:.4f}"),
        )

    def _validation(self, epoch: int, num_images: int) -> None:
        assert self._task is not None
        assert self.start is not None
        now = time.monotonic()
        if now - self._shown < _REFRESH_S and num_images < self.start.num_val:
            return
        self._shown = now
        description = f"validating {epoch + 1}/{self.start.num_epochs}"
        self._bar.update(
            self._task, description=description, completed=num_images, total=self.start.num_val, state="patches"
        )
