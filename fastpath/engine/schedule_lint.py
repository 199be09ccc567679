"""The learning rates of a run before it is run, and what is odd about them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fastpath.config import ScheduleConfig, TrainConfig
from fastpath.engine.optim import MOVING_EACH_STEP, batch_scale, warmup_cosine
from fastpath.engine.stages import Stage, phase_of

NOTHING = 1e-6
"""A rate below this share of the highest changes nothing."""
_RUNS = 20  # of epochs that a sentence lists
_START, _END = 25.0, 1e4  # torch's OneCycleLR: it starts at 1/25 of the highest rate and ends at 1/10,000 of that


@dataclass(frozen=True, slots=True)
class EpochRates:
    """Learning rates in an epoch.

    Attributes:
        epoch: 1-based.
        first: The head's in its first step.
        highest: The head's highest.
        last: The head's in its last step.
        trunk: The highest of the trained part of the trunk; 0 where none is trained.
    """

    epoch: int
    first: float
    highest: float
    last: float
    trunk: float


def planned_rates(stages: Sequence[Stage]) -> tuple[EpochRates, ...]:
    """Return the rates of every epoch; for `plateau`, those of a run whose AUC rises in every epoch.

    Args:
        stages: The run's stages.
    """
    return tuple(rates for phase in _phases(stages) for rates in _phase_rates(phase))


def lint(stages: Sequence[Stage], train: TrainConfig) -> tuple[str, ...]:
    """Return what is odd about a run's schedules, a sentence each; nothing where nothing is.

    Args:
        stages: The run's stages.
        train: Of the run: when it stops early.
    """
    warnings: list[str] = []
    for phase in _phases(stages):
        schedule, epochs = phase[0].config.schedule, _num_epochs(phase)
        check = _CHECKS.get(schedule.kind)
        warnings += check(schedule, epochs, train) if check else []
        rates = _phase_rates(phase)
        highest = max(rate.highest for rate in rates)
        still = [rate.epoch for rate in rates if rate.highest < NOTHING * highest]
        if still:
            warnings.append(f"the learning rate is 0 throughout epoch {_listed(still)}: nothing is learnt there")
        if 0 < train.early_stop_epochs < epochs and schedule.kind in MOVING_EACH_STEP:
            warnings.append(
                f"{schedule.kind} is at its best at its end, but train.early_stop_epochs={train.early_stop_epochs} can "
                f"end the run while the rate is high; 0 lets it finish"
            )
    return tuple(warnings)


def _lint_step(schedule: ScheduleConfig, epochs: int, _train: TrainConfig) -> list[str]:
    if schedule.step_epochs >= epochs:
        return [f"schedule.step_epochs={schedule.step_epochs} never fires in {epochs} epochs: the rate is constant"]
    return []


def _lint_cosine(schedule: ScheduleConfig, epochs: int, train: TrainConfig) -> list[str]:
    half = schedule.t_max_epochs or epochs
    if half > epochs:
        left = (1 + math.cos(math.pi * (epochs - 1) / half)) / 2
        return [
            f"schedule.t_max_epochs={half} is beyond the {epochs} epochs: the rate ends at {left:.0%} of its highest"
        ]
    if half == epochs:
        return []
    warnings = [
        f"schedule.t_max_epochs={half} is below the {epochs} epochs: a triangle wave, not restarts: the rate falls to "
        f"0 at epoch {half + 1} and climbs back, to its highest after {half} more; 0 spans the run"
    ]
    if 0 < train.early_stop_epochs < half:
        warnings.append(
            f"train.early_stop_epochs={train.early_stop_epochs} is shorter than the wave's half of {half} epochs: its "
            f"climb can end the run"
        )
    return warnings


def _lint_plateau(schedule: ScheduleConfig, epochs: int, train: TrainConfig) -> list[str]:
    # torch reduces at the epoch after `patience` ones without a better AUC, and the first epoch is always better.
    fires = schedule.patience_epochs + 1
    if fires + 1 >= epochs:
        return [f"schedule.patience_epochs={schedule.patience_epochs} cannot reduce the rate in {epochs} epochs"]
    if 0 < train.early_stop_epochs <= fires:
        return [
            f"train.early_stop_epochs={train.early_stop_epochs} ends the run before schedule.patience_epochs="
            f"{schedule.patience_epochs} lets a lower rate be tried; wanted at least {fires + 1}"
        ]
    return []


_CHECKS: dict[str, Callable[[ScheduleConfig, int, TrainConfig], list[str]]] = {
    "step": _lint_step,
    "cosine": _lint_cosine,
    "plateau": _lint_plateau,
}


def _phases(stages: Sequence[Stage]) -> Iterator[tuple[Stage, ...]]:
    for phase in range(stages[-1].phase + 1):
        yield phase_of(stages, phase)


def _num_epochs(phase: Sequence[Stage]) -> int:
    return phase[-1].end_epoch - phase[0].first_epoch


def _phase_rates(phase: Sequence[Stage]) -> list[EpochRates]:
    settings = phase[0].config
    scale = batch_scale(settings.optim, settings.data.batch_size)
    head, trunk = settings.optim.lr_head * scale, settings.optim.lr_trunk * scale
    total = sum(stage.num_steps * (stage.end_epoch - stage.first_epoch) for stage in phase)
    epochs, rates, done = _num_epochs(phase), [], 0
    for stage in phase:
        for epoch in range(stage.first_epoch, stage.end_epoch):
            steps = telling_steps(settings.schedule, range(done, done + stage.num_steps), total)
            shares = [
                rate_share(settings.schedule, epoch - phase[0].first_epoch, epochs, step, total) for step in steps
            ]
            trained = 0.0 if settings.model.trainable == "head" else trunk * max(shares)
            rates.append(EpochRates(epoch + 1, head * shares[0], head * max(shares), head * shares[-1], trained))
            done += stage.num_steps
    return rates


def telling_steps(schedule: ScheduleConfig, steps: range, total_steps: int) -> list[int]:
    """Return an epoch's first step, the one of its highest rate and its last: a rate rises once and falls once."""
    top = math.floor(schedule.warmup_share * (total_steps + 1))
    return [steps[0], *(step for step in range(top - 2, top + 3) if step in steps), steps[-1]]


def rate_share(schedule: ScheduleConfig, epoch: int, num_epochs: int, step: int, total_steps: int) -> float:
    """Return the share of its highest rate that a schedule takes a step with.

    Args:
        schedule: Kind and parameters.
        epoch: 0-based, within what the schedule is over.
        num_epochs: Epochs that it is over.
        step: 0-based, likewise.
        total_steps: Steps in all of these epochs.
    """
    if schedule.kind == "step":
        return float(schedule.gamma ** (epoch // schedule.step_epochs))
    if schedule.kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * epoch / (schedule.t_max_epochs or num_epochs)))
    if schedule.kind == "onecycle":
        return _onecycle(step, total_steps + 1, schedule.warmup_share)
    if schedule.kind == "warmup_cosine":
        return warmup_cosine(step, warmup_share=schedule.warmup_share, total_steps=total_steps)
    return 1.0


def _onecycle(step: int, total: int, warmup_share: float) -> float:
    """Return OneCycleLR's share: half a cosine up, half a cosine down."""
    top = warmup_share * total - 1 if warmup_share * total > 1 else -1.0
    if step <= top:
        low, high, share = 1 / _START, 1.0, step / top if top else 1.0
    else:
        low, high = 1.0, 1 / (_START * _END)
        share = (step - top) / (total - 1 - top)
    return low + (high - low) * 0.5 * (1 - math.cos(math.pi * share))


def _listed(numbers: Sequence[int]) -> str:
    """Return rising numbers, three or more in a row as their first and last: 6, 9 to 12."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    named = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(named[:_RUNS]) + (" …" if len(named) > _RUNS else "")
