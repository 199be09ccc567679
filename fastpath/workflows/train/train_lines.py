"""What a training says of itself in lines: what begins, and how each epoch went."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastpath.engine.loop import EpochEvent, Event
from fastpath.engine.schedule_lint import EpochRates
from fastpath.runtime import Runtime

_LOGGER = logging.getLogger(__name__)
_HEADINGS = ("epoch", "train loss", "val loss", "val AUC", "", "lr head", "img/s", "stall", "seconds")
_WIDTHS = (7, 10, 9, 8, 4, 9, 7, 6, 8)


@dataclass(frozen=True, slots=True)
class StartEvent:
    """Training is about to begin, or to go on.

    Attributes:
        num_train: Training patches.
        num_val: Validation patches.
        num_epochs: Length of the whole run.
        num_steps: Steps of the epoch under way.
        epoch: Epochs completed before.
        step: Steps completed in the epoch under way.
        num_parameters: Of the network.
        num_trained: Of these, how many are trained.
        centre_lost_share: Share of training samples whose augmentation cuts into the centre that decides the label,
            in the stage where most do.
        rates: Learning rates of every epoch.
        warnings: What is odd about the learning rates or the split, a sentence each.
        memory: Where patches wait to be fed, and the memory that decided it.
        precision: How the precision was decided, where that is not plain.
    """

    num_train: int
    num_val: int
    num_epochs: int
    num_steps: int
    epoch: int
    step: int
    num_parameters: int
    num_trained: int
    centre_lost_share: float
    rates: tuple[EpochRates, ...] = ()
    warnings: tuple[str, ...] = ()
    memory: str = ""
    precision: str = ""


def told_in_lines(
    on_event: Callable[[StartEvent | Event], None] | None, runtime: Runtime
) -> Callable[[StartEvent | Event], None]:
    """Return what takes a training's events: it says them in lines, on the first rank, and hands them on.

    Args:
        on_event: What hears of every event; None for nothing.
        runtime: Knows the rank.
    """
    num_epochs = 0

    def take(event: StartEvent | Event) -> None:
        nonlocal num_epochs
        if isinstance(event, StartEvent):
            num_epochs = event.num_epochs
        if runtime.rank == 0:
            if isinstance(event, StartEvent):
                say_start(event)
            elif isinstance(event, EpochEvent):
                say_epoch(event, num_epochs)
        if on_event is not None:
            on_event(event)

    return take


def say_start(start: StartEvent) -> None:
    """Say what begins, what is odd about it, and the headings of `say_epoch`."""
    going_on = f", going on after epoch {start.epoch}, step {start.step}" if start.epoch or start.step else ""
    patches = f"{start.num_train:,} training and {start.num_val:,} validation patches"
    parameters = f"{start.num_trained:,} of {start.num_parameters:,} parameters trained"
    _LOGGER.info("%s", f"{patches}, {parameters}{going_on}")
    if start.precision:
        _LOGGER.warning("%s", start.precision)
    if start.memory:
        _LOGGER.info("%s", start.memory)
    if start.centre_lost_share:
        share = f"{start.centre_lost_share:.1%} of training samples"
        _LOGGER.warning("%s", f"augmentation cuts into the centre that decides the label in {share}: see data.augment")
    if start.rates:
        _LOGGER.info("%s", f"learning rate by epoch: {_rates_line(start.rates)}")
    for warning in start.warnings:
        _LOGGER.warning("%s", warning)
    _LOGGER.info("%s", _row(_HEADINGS), extra={"style": "bold"})


def say_epoch(event: EpochEvent, num_epochs: int) -> None:
    """Say how an epoch went, in a line below the headings."""
    timing = event.timing
    cells = (
        f"{event.epoch}/{num_epochs}",
        f"{event.train_loss:.4f}",
        f"{event.val_loss:.4f}",
        f"{event.val_auc:.4f}",
        "best" if event.improved else "",
        f"{event.learning_rates['head']:.1e}",
        f"{timing.images_per_s:,.0f}",
        f"{timing.stall_share:.0%}",
        f"{timing.train_s + timing.val_s:.1f}",
    )
    _LOGGER.info("%s", _row(cells), extra={"style": "green" if event.improved else ""})


def _rates_line(rates: Sequence[EpochRates]) -> str:
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


def _row(cells: tuple[str, ...]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
