"""The learning rate that each step of a run was taken with, for a picture of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastpath.config import ScheduleConfig
from fastpath.engine.optim import MOVING_EACH_STEP, batch_scale
from fastpath.engine.schedule_lint import rate_share, telling_steps
from fastpath.engine.stages import Stage, phase_of, stage_at

DRAWN = 200
"""Steps of an epoch at most: more cannot be seen."""

Points = list[tuple[float, float]]
"""Epochs trained before a step, which need not be whole, and the rate that the step was taken with."""


def step_rates(stages: Sequence[Stage], records: Sequence[Mapping[str, Any]]) -> dict[str, Points]:
    """Return the rates of the epochs that a run has behind it, by parameter group.

    A schedule that moves after epochs takes every step of one with the rate that the journal tells of it. One that
    moves after steps is computed; where the journal tells another rate of an epoch's end, since the run was stretched
    after it, the epoch has the one point that is known.

    Args:
        stages: The run's stages.
        records: The journal's epochs.
    """
    rates: dict[str, Points] = {}
    for record in records:
        stage, end = stage_at(stages, record["epoch"] - 1), float(record["epoch"])
        for name in ("head", "trunk"):
            rate = record.get(f"lr_{name}")
            if rate is None:
                continue
            points: Points = [(end - 1, rate), (end, rate)]
            if stage.config.schedule.kind in MOVING_EACH_STEP:
                points = list(_moving(stages, stage, record["epoch"] - 1, _highest(stages, stage, name)))
                if not math.isclose(points[-1][1], rate, rel_tol=1e-3, abs_tol=1e-12):
                    points = [(end, rate)]
            rates.setdefault(name, []).extend(points)
    return rates


def _highest(stages: Sequence[Stage], stage: Stage, group: str) -> float:
    settings = phase_of(stages, stage.phase)[0].config
    rate = settings.optim.lr_head if group == "head" else settings.optim.lr_trunk
    return rate * batch_scale(settings.optim, settings.data.batch_size)


def _moving(stages: Sequence[Stage], stage: Stage, epoch: int, highest: float) -> Iterator[tuple[float, float]]:
    """Yield the points of a 0-based epoch, the step after its last among them."""
    phase = phase_of(stages, stage.phase)
    schedule: ScheduleConfig = phase[0].config.schedule
    lengths = [each.num_steps for each in phase for _ in range(each.first_epoch, each.end_epoch)]
    within = epoch - phase[0].first_epoch
    before, num = sum(lengths[:within]), lengths[within]
    spread = np.linspace(before, before + num, min(num, DRAWN) + 1).astype(int).tolist()
    for step in sorted({*spread, *telling_steps(schedule, range(before, before + num), sum(lengths))}):
        share = rate_share(schedule, within, len(lengths), step, sum(lengths))
        yield epoch + (step - before) / num, highest * share
