"""A loss that is not finite is found, late but by its very step, and nothing waits for the device in between."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fastpath.engine.guard import INTERVAL, LossGuard, NonFiniteLossError

CPU = torch.device("cpu")


def feed(guard: LossGuard, losses: list[float]) -> torch.Tensor:
    loss_sum = torch.zeros((), dtype=torch.float64)
    for loss in losses:
        loss_sum += torch.tensor(loss)
        guard.add(torch.tensor(loss), loss_sum)
    return loss_sum


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 1, INTERVAL - 1, INTERVAL, 3 * INTERVAL + 5])
@pytest.mark.parametrize("first_step", [0, 7])
def test_the_first_bad_step_is_named_within_two_intervals(bad: float, step: int, first_step: int) -> None:
    losses = [0.5] * step + [bad] + [math.nan] * (2 * INTERVAL)
    with pytest.raises(NonFiniteLossError) as caught:
        feed(LossGuard(3, first_step, CPU), losses)
    assert (caught.value.epoch, caught.value.step) == (3, first_step + step)
    assert f"epoch 4, step {first_step + step + 1}" in str(caught.value)
    assert math.isnan(caught.value.loss) == math.isnan(bad)


def test_the_epochs_end_finds_what_is_left() -> None:
    guard = LossGuard(0, 0, CPU)
    loss_sum = feed(guard, [0.5, math.nan, 0.5])
    with pytest.raises(NonFiniteLossError) as caught:
        guard.check(loss_sum)
    assert caught.value.step == 1


def test_finite_losses_pass_unread(host_reads: Callable[[], Any]) -> None:
    guard = LossGuard(0, 0, CPU)
    with host_reads() as reads:
        loss_sum = feed(guard, [1e30] * (5 * INTERVAL))
    assert reads.count == 0
    guard.check(loss_sum)


def test_the_error_survives_another_process() -> None:
    error = pickle.loads(pickle.dumps(NonFiniteLossError(1, 2, math.inf)))
    assert (error.epoch, error.step, error.loss) == (1, 2, math.inf)
