"""What training looks like in a terminal: a line an epoch, and below them a bar that moves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskID, TimeRemainingColumn
from rich.text import Text

from fastpath.cli import render

if TYPE_CHECKING:
    from fastpath.engine.loop import EpochEvent, Event, StepEvent
    from fastpath.engine.schedule_lint import EpochRates
    from fastpath.runtime import Runtime
    from fastpath.workflows.train.train import StartEvent

# A line is written no more often than the eye needs.
_REFRESH_S = 0.5
_HEADINGS = ("epoch", "train loss", "val loss", "val AUC", "", "lr head", "img/s", "stall", "seconds")
_WIDTHS = (7, 10, 9, 8, 4, 9, 7, 6, 8)


class TrainView:
    """Shows training events on standard error; silent below verbosity 0.

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
        self._bar = Progress(*columns, console=render.stderr, disable=self._quiet, transient=True)
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
        from fastpath.workflows.train.train import StartEvent

        if isinstance(event, StartEvent):
            self.start = event
        if self._quiet:
            return
        if isinstance(event, StepEvent):
            self._step(event)
        elif isinstance(event, ValidationEvent):
            self._validation(event.epoch, event.num_images)
        elif isinstance(event, EpochEvent):
            self._epoch(event)
        else:
            self._begin(event)

    def _begin(self, start: StartEvent) -> None:
        going_on = f", going on after epoch {start.epoch}, step {start.step}" if start.epoch or start.step else ""
        self._say(
            f"{start.num_train:,} training and {start.num_val:,} validation patches, "
            f"{start.num_trained:,} of {start.num_parameters:,} parameters trained{going_on}"
        )
        if start.precision:
            render.notice(start.precision)
        if start.memory:
            self._say(start.memory)
        if start.centre_lost_share:
            share = f"{start.centre_lost_share:.1%} of training samples"
            render.notice(f"augmentation cuts into the centre that decides the label in {share}: see data.augment")
        if start.rates:
            self._say(f"learning rate by epoch: {rates_line(start.rates)}")
        for warning in start.warnings:
            render.notice(warning)
        self._bar.console.print(_row(_HEADINGS, "bold"), soft_wrap=True)
        self._task = self._bar.add_task("epoch", total=start.num_steps, state="")
        self._restart()

    def _say(self, text: str) -> None:
        self._bar.console.print(render.text(text), soft_wrap=True)

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

    def _epoch(self, event: EpochEvent) -> None:
        assert self.start is not None
        timing = event.timing
        cells = (
            f"{event.epoch}/{self.start.num_epochs}",
            f"{event.train_loss:.4f}",
            f"{event.val_loss:.4f}",
            f"{event.val_auc:.4f}",
            "best" if event.improved else "",
            f"{event.learning_rates['head']:.1e}",
            f"{timing.images_per_s:,.0f}",
            f"{timing.stall_share:.0%}",
            f"{timing.train_s + timing.val_s:.1f}",
        )
        self._bar.console.print(_row(cells, "green" if event.improved else ""), soft_wrap=True)
        self._restart()


def rates_line(rates: Sequence[EpochRates]) -> str:
    """Return the head's rate in every epoch as one line: runs of equal epochs once, moving ones as first → last."""
    cells = [
        (rate.epoch, f"{rate.first:.1e}" if _still(rate) else f"{rate.first:.1e}→{_peak(rate)}{rate.last:.1e}")
        for rate in rates
    ]
    parts = []
    for text, group in itertools.groupby(cells, key=lambda cell: cell[1]):
        epochs = [epoch for epoch, _ in group]
        parts.append(f"{epochs[0]}: {text}" if len(epochs) == 1 else f"{epochs[0]}-{epochs[-1]}: {text}")
    return ", ".join(parts)


def _still(rate: EpochRates) -> bool:
    return rate.first == rate.highest == rate.last


def _peak(rate: EpochRates) -> str:
    return f"{rate.highest:.1e}→" if rate.highest > max(rate.first, rate.last) else ""


def _row(cells: tuple[str, ...], style: str) -> Text:
    return Text(" ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)), style=style)
