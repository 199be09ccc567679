"""What the loop tells of the loss scaler, of averaged weights and of losses that are not finite, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from fastpath.config import OptimConfig, ScheduleConfig
from fastpath.engine import journal
from fastpath.engine.ema import ModelEMA
from fastpath.engine.guard import NonFiniteLossError
from fastpath.engine.loop import BatchSource, EpochEvent, StepEvent, TrainState, fit
from fastpath.engine.optim import make_optimizer, make_schedule
from fastpath.runtime import Precision, Runtime
from fastpath.types import Batch

NUM_STEPS = 5


def batch(step: int, value: float = 1.0) -> Batch:
    images = torch.randn(4, 8, generator=torch.Generator().manual_seed(step)) * value
    return Batch(images, torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.arange(4))


def state_of(precision: Precision, lr: float = 0.01) -> tuple[TrainState, Runtime]:
    torch.manual_seed(0)
    model, runtime = nn.Sequential(nn.Linear(8, 1), nn.Flatten(0)), Runtime(torch.device("cpu"), precision)
    optimizer = make_optimizer(list(model.parameters()), [], OptimConfig(lr_head=lr))
    schedule = make_schedule(optimizer, ScheduleConfig(kind="constant"), num_epochs=2, total_steps=2 * NUM_STEPS)
    loss_sum = torch.zeros((), dtype=torch.float64)
    return TrainState(
        model=model,
        network=model,
        optimizer=optimizer,
        schedule=schedule,
        scaler=runtime.grad_scaler(),
        loss_sum=loss_sum,
        num_skipped=torch.zeros(()),
    ), runtime


def epochs(state: TrainState, runtime: Runtime, value: float = 1.0) -> list[EpochEvent]:
    def batches(_epoch: int, first: int) -> Iterator[Batch]:
        return (batch(step, value) for step in range(first, NUM_STEPS))

    events = fit(state, BatchSource(batches, [batch(99)], NUM_STEPS), runtime, num_epochs=2, seed=1)
    return [event for event in events if isinstance(event, EpochEvent)]


def test_steps_that_the_scaler_skips_are_counted_by_epoch() -> None:
    state, runtime = state_of("float16")
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18)  # noqa: TID251 (its gradients overflow float16)
    first, second = epochs(state, runtime)
    skipped = first.scaling["skipped_steps"]
    assert 1 <= skipped < NUM_STEPS
    assert first.scaling["loss_scale"] == 2.0 ** (18 - skipped)  # halved each time
    assert second.scaling["skipped_steps"] == 0
    assert journal.epoch_record(first)["skipped_steps"] == skipped


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_without_a_scaler_nothing_is_told_of_one(precision: Precision) -> None:
    state, runtime = state_of(precision)
    assert all(event.scaling == {} for event in epochs(state, runtime))
    assert "loss_scale" not in journal.epoch_record(epochs(*state_of(precision))[0])


def test_a_loss_that_is_not_finite_names_its_step() -> None:
    state, runtime = state_of("float32")

    def batches(_epoch: int, first: int) -> Iterator[Batch]:
        return (batch(step, float("nan") if step == 3 else 1.0) for step in range(first, NUM_STEPS))

    events = fit(state, BatchSource(batches, [batch(99)], NUM_STEPS), runtime, num_epochs=2, seed=1)
    with pytest.raises(NonFiniteLossError) as caught:
        list(events)
    assert (caught.value.epoch, caught.value.step) == (0, 3)


def test_the_averaged_network_is_the_one_that_is_validated() -> None:
    plain, averaged = state_of("float32", lr=1.0)[0], state_of("float32", lr=1.0)[0]
    averaged.average = ModelEMA(averaged.model, 0.999)
    runtime = Runtime(torch.device("cpu"))
    losses = [epochs(state, runtime)[-1].val_loss for state in (plain, averaged)]
    assert torch.equal(plain.model[0].weight, averaged.model[0].weight)  # following changes nothing
    assert losses[0] != losses[1]


def test_no_step_reads_anything_back_whatever_is_switched_on(host_reads: Callable[[], Any]) -> None:
    state, runtime = state_of("float32")
    state.average = ModelEMA(state.model, 0.99)

    def batches(_epoch: int, first: int) -> Iterator[Batch]:
        return (batch(step) for step in range(first, 200))

    reads = []
    with host_reads() as mode:
        for event in fit(state, BatchSource(batches, [batch(99)], 200), runtime, num_epochs=1, seed=1):
            if isinstance(event, StepEvent):
                reads.append(mode.count)
    assert reads == [1] * 200  # the guard's view of its own host memory, as the epoch begins
