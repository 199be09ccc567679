"""The training loop: a generator of events. What to save, show or stop is for its caller to decide."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fastpath.analysis import metrics
from fastpath.engine.chance import Chance
from fastpath.engine.cuda_graphs import Step
from fastpath.engine.ema import ModelEMA
from fastpath.engine.guard import LossGuard
from fastpath.engine.optim import Schedule, learning_rates, steps_taken
from fastpath.engine.step import LogitTable, infer, make_step
from fastpath.runtime import GradScaler, Runtime
from fastpath.types import Batch


@dataclass(slots=True, kw_only=True)
class TrainState:
    """Everything that training changes. Consistent whenever `fit` has yielded.

    Attributes:
        model: On the device; what is saved.
        network: What is trained: the model itself, or made of it (folded, compiled, distributed), with its parameters.
        optimizer: Over the model's trained parameters.
        schedule: Over the optimiser.
        scaler: Disabled where the precision needs none.
        loss_sum: float64 [] on the device, sum of losses over the patches of the epoch under way.
        num_skipped: float32 [] on the device, steps of the epoch under way that the loss scaler skipped, gradients
            having overflowed.
        average: Of the model's weights; validated in the model's place where there is one.
        num_seen: Patches trained on in the epoch under way.
        epoch: Epochs completed; the 0-based number of the one under way.
        step: Steps completed in the epoch under way.
        best_auc: Highest validation AUC so far; -1 before the first.
        best_epoch: The 1-based epoch of `best_auc`; 0 before the first.
        epochs_since_best: Epochs completed since then.
    """

    model: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: GradScaler
    loss_sum: Tensor
    num_skipped: Tensor
    average: ModelEMA | None = None
    num_seen: int = 0
    epoch: int = 0
    step: int = 0
    best_auc: float = -1.0
    best_epoch: int = 0
    epochs_since_best: int = 0


@dataclass(frozen=True, slots=True)
class StepEvent:
    """A training step was taken.

    Attributes:
        epoch: 0-based.
        step: Steps completed in the epoch, from 1.
        num_images: Patches of this step.
        loss: float32 [], the step's mean loss, on the device: reading it waits for the device.
        stall_share: Share of the epoch's training time so far that the device was idle between steps.
        num_steps: Steps of the epoch.
    """

    epoch: int
    step: int
    num_images: int
    loss: Tensor
    stall_share: float
    num_steps: int = 0


@dataclass(frozen=True, slots=True)
class ValidationEvent:
    """A validation batch was passed.

    Attributes:
        epoch: 0-based.
        num_images: Validation patches done so far.
    """

    epoch: int
    num_images: int


@dataclass(frozen=True, slots=True)
class EpochEvent:
    """An epoch of training and its validation ended.

    Attributes:
        epoch: 1-based: epochs completed.
        train_loss: Mean loss over the epoch's training patches, each before the step it took part in.
        val_loss: Mean loss over the validation patches.
        val_auc: Area under the validation ROC curve; NaN where it holds one class only.
        learning_rates: By parameter group, after the epoch's last step.
        improved: Whether `val_auc` is the best so far.
        timing: How long it took.
        scaling: Where a loss scaler is at work, its `loss_scale` and the epoch's `skipped_steps`; else empty.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_auc: float
    learning_rates: dict[str, float]
    improved: bool
    timing: Timing
    scaling: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Timing:
    """Wall time of the part of an epoch that this process ran.

    Attributes:
        num_images: Training patches.
        train_s: Seconds of training.
        wait_s: Seconds of those that the device was idle between steps: on a CPU, waiting for the loader's next batch.
        val_s: Seconds of validation.
    """

    num_images: int = 0
    train_s: float = 0.0
    wait_s: float = 0.0
    val_s: float = 0.0

    @property
    def images_per_s(self) -> float:
        """Training patches a second, waiting included."""
        return self.num_images / self.train_s if self.train_s else 0.0

    @property
    def stall_share(self) -> float:
        """Share of training time that the device was idle between steps, 0 to 1."""
        return self.wait_s / self.train_s if self.train_s else 0.0


Event = StepEvent | ValidationEvent | EpochEvent


@dataclass(frozen=True, slots=True)
class BatchSource:
    """Where the batches come from.

    Attributes:
        train_batches: From (0-based epoch, first step) to the rest of that epoch's batches.
        val_batches: All validation batches, anew at each iteration.
        num_steps: Steps an epoch, the same in every epoch.
    """

    train_batches: Callable[[int, int], Iterable[Batch]]
    val_batches: Iterable[Batch]
    num_steps: int


def fit(
    state: TrainState,
    source: BatchSource,
    runtime: Runtime,
    *,
    num_epochs: int,
    seed: int,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
    cuda_graph: bool = True,
) -> Iterator[Event]:
    """Train from where `state` stands to the end of epoch `num_epochs`.

    The caller may stop between any two events and, from a copy of `state` taken there, go on later: what follows
    depends on the state and the batches alone. Losses and logits stay on the device until their epoch ends.

    Args:
        state: Changed in place.
        source: Batches on the runtime's device.
        runtime: Device and precision.
        num_epochs: Length of the whole run, the epochs that `state` has behind it included.
        seed: Decides dropout, together with epoch and step.
        label_smoothing: Share of the way from each label to one half that targets are moved.
        accumulate: Parts in which each step's batch passes through the network.
        cuda_graph: Record the step as a CUDA graph, where there is CUDA.

    Raises:
        NonFiniteLossError: A training loss was NaN or infinite; `state` is spoilt.
    """
    network = runtime.distribute(state.network)
    chance = Chance(seed, runtime)
    learn = make_step(
        network,
        state.optimizer,
        state.scaler,
        runtime,
        label_smoothing=label_smoothing,
        accumulate=accumulate,
        cuda_graph=cuda_graph,
    )

    def step(batch: Batch) -> Tensor:
        with chance.at(state.epoch, state.step, num_images=len(batch.labels_N)):
            return _step(state, batch, learn)

    while state.epoch < num_epochs:
        timing = Timing()
        yield from _train(state, source, runtime, timing, step)
        yield from _validate(state, source, runtime, timing)


def _train(
    state: TrainState, source: BatchSource, runtime: Runtime, timing: Timing, train_on: Callable[[Batch], Tensor]
) -> Iterator[StepEvent]:
    """Take the rest of the epoch's steps."""
    if state.step >= source.num_steps:
        return  # resumed in the midst of a validation
    state.network.train()
    guard = LossGuard(state.epoch, state.step, runtime.device)
    began = time.perf_counter()
    clock = runtime.idle_clock()
    batches = iter(source.train_batches(state.epoch, state.step))
    while state.step < source.num_steps:
        batch = clock.next(batches)
        loss = train_on(batch)
        num_images = batch.num_total or len(batch.labels_N)
        state.loss_sum += loss.double() * num_images
        state.num_seen += num_images
        state.step += 1
        guard.add(loss, state.loss_sum)
        clock.step_done()
        timing.num_images += num_images
        timing.wait_s, timing.train_s = clock.idle_s(), time.perf_counter() - began
        yield StepEvent(state.epoch, state.step, num_images, loss, timing.stall_share, source.num_steps)
    guard.check(state.loss_sum)  # waits for the device, so that the time of the steps is not told as validation's
    timing.wait_s, timing.train_s = clock.idle_s(), time.perf_counter() - began


def _step(state: TrainState, batch: Batch, learn: Step) -> Tensor:
    """Take one step and let follow what follows each; returns its loss."""
    scales = state.scaler.is_enabled()
    before = steps_taken(state.optimizer) if scales else None
    loss = learn(batch)
    if before is not None:
        state.num_skipped += 1 - (steps_taken(state.optimizer) - before)
    state.schedule.after_step()
    if state.average is not None:
        state.average.update(state.model)
    return loss


def _validate(
    state: TrainState, source: BatchSource, runtime: Runtime, timing: Timing
) -> Iterator[ValidationEvent | EpochEvent]:
    """Validate, and close the epoch."""
    began = time.perf_counter()
    table = LogitTable(runtime)
    model = state.average.model if state.average else state.model
    runtime.broadcast_buffers(model)
    for batch, logits_N in infer(model, source.val_batches, runtime):
        table.add(batch, logits_N)
        yield ValidationEvent(state.epoch, table.num_patches)
    predictions = table.predictions()
    timing.val_s = time.perf_counter() - began
    train_loss = state.loss_sum.item() / max(state.num_seen, 1)
    val_loss = metrics.mean_cross_entropy(predictions.labels_N, predictions.logits_N)
    auc = metrics.roc_auc_or_nan(predictions.labels_N, predictions.logits_N)
    rates = learning_rates(state.optimizer)
    scaling = _scaling(state)
    state.schedule.after_epoch(auc)
    improved = _close_epoch(state, auc)
    yield EpochEvent(state.epoch, train_loss, val_loss, auc, rates, improved, timing, scaling)


def _scaling(state: TrainState) -> dict[str, float]:
    """Return what the loss scaler did in the epoch; nothing where it is disabled."""
    if not state.scaler.is_enabled():
        return {}
    return {"loss_scale": state.scaler.get_scale(), "skipped_steps": int(state.num_skipped.item())}


def _close_epoch(state: TrainState, auc: float) -> bool:
    """Move the state to the next epoch's start; return whether this one was the best."""
    state.epoch, state.step, state.num_seen = state.epoch + 1, 0, 0
    state.loss_sum, state.num_skipped = torch.zeros_like(state.loss_sum), torch.zeros_like(state.num_skipped)
    # A first epoch always counts, so that there is a best one even where AUC is undefined.
    improved = state.best_epoch == 0 or auc > state.best_auc
    if improved:
        state.best_auc, state.best_epoch, state.epochs_since_best = -1.0 if math.isnan(auc) else auc, state.epoch, 0
    else:
        state.epochs_since_best += 1
    return improved
