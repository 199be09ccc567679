"""The rates that are drawn are those that torch's schedules gave the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fastpath.config import Config, parse
from fastpath.engine.optim import learning_rates, make_optimizer, make_schedule
from fastpath.engine.stages import build_stages
from fastpath.engine.step_rates import DRAWN, step_rates

EPOCHS, STEPS, BATCH = 4, 37, 8


def _config(kind: str, epochs: int = EPOCHS) -> Config:
    schedule: dict[str, Any] = {"kind": kind, "step_epochs": 2}
    return parse({"data": {"batch_size": BATCH}, "schedule": schedule, "train": {"epochs": epochs}})


def _taken(config: Config, steps: int) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Return the rates of every step as torch moves them, and the journal's epochs."""
    head, trunk = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer([head], [trunk], config.optim)
    num = config.train.epochs
    schedule = make_schedule(optimizer, config.schedule, num_epochs=num, total_steps=num * steps)
    rates, records = [], []
    for epoch in range(num):
        for _ in range(steps):
            rates.append(learning_rates(optimizer))
            schedule.after_step()
        now = learning_rates(optimizer)
        records.append({"epoch": epoch + 1, **{f"lr_{name}": rate for name, rate in now.items()}})
        schedule.after_epoch(0.5)
    return rates, records


@pytest.mark.parametrize("kind", ["constant", "step", "cosine", "plateau", "onecycle", "warmup_cosine"])
@pytest.mark.parametrize("steps", [STEPS, 3 * DRAWN])
def test_every_drawn_rate_is_one_that_a_step_was_taken_with(kind: str, steps: int) -> None:
    config = _config(kind)
    taken, records = _taken(config, steps)
    drawn = step_rates(build_stages(config, BATCH * steps), records)
    assert set(drawn) == {"head", "trunk"}
    for name, points in drawn.items():
        places = np.array([place for place, _ in points])
        assert (np.diff(places) >= 0).all()
        assert (places[0], places[-1]) == (0, EPOCHS)
        assert len(points) <= EPOCHS * (DRAWN + 7)
        tops = 0
        for at, rate in points:
            step = round(at * steps)
            near = {taken[number][name] for number in (step - 1, step) if 0 <= number < len(taken)}
            assert step == len(taken) or any(rate == pytest.approx(other, rel=1e-6, abs=1e-12) for other in near)
            tops += rate == pytest.approx(max(rates[name] for rates in taken))
        assert tops > 0  # the highest is among them, however few are drawn


def test_an_epoch_of_another_schedule_has_the_point_that_is_known() -> None:
    """A run that was stretched followed the shorter schedule first."""
    records: list[Mapping[str, Any]] = [*_taken(_config("onecycle", 2), STEPS)[1]]
    drawn = step_rates(build_stages(_config("onecycle", 4), BATCH * STEPS), records)
    assert drawn["head"] == [(record["epoch"], record["lr_head"]) for record in records]


def test_a_head_alone_has_one_rate() -> None:
    assert list(step_rates(build_stages(_config("constant"), 8), [{"epoch": 1, "lr_head": 1e-4}])) == ["head"]
    assert step_rates(build_stages(_config("constant"), 8), []) == {}
