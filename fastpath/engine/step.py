"""One training step and one pass of inference. Nothing here waits for the device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastpath.runtime import GradScaler, Runtime
from fastpath.types import Batch


@dataclass(frozen=True, slots=True)
class Predictions:
    """Logits with what they are of, in the order the loader yielded them.

    Attributes:
        indices_N: int64 [N], rows of the store.
        labels_N: float32 [N], 0 or 1, NaN where unknown.
        logits_N: float32 [N].
    """

    indices_N: np.ndarray
    labels_N: np.ndarray
    logits_N: np.ndarray


def train_step(
    model: nn.Module,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
    runtime: Runtime,
    *,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
) -> Tensor:
    """Take one optimiser step on a batch, of which this rank may have a share.

    The loss is computed in float32 from logits: BCE of a sigmoid is refused under autocast, and loses small
    probabilities. A disabled scaler passes everything through, so there is one code path for every precision.

    Args:
        model: Maps images [N, 3, H, W] to logits [N]; on the runtime's device, in training mode.
        batch: On the runtime's device.
        optimizer: Over the model's trained parameters.
        scaler: Of the loss.
        runtime: Device and precision.
        label_smoothing: Share of the way from each label to one half that the target is moved.
        accumulate: Parts that the share passes in, one after the other, for want of memory for all of it.

    Returns:
        The whole batch's mean loss before the step: float32 [], detached, on the device.
    """
    optimizer.zero_grad(set_to_none=True)
    num_total = batch.num_total or len(batch.labels_N)
    # As many parts on every rank, be they empty: they wait for one another.
    images, labels = batch.images_NCHW.tensor_split(accumulate), batch.labels_N.tensor_split(accumulate)
    sums = []
    for number, (images_NCHW, labels_N) in enumerate(zip(images, labels, strict=True), 1):
        if not len(labels_N) and runtime.world_size == 1:
            continue
        last = number == accumulate
        with contextlib.nullcontext() if last else runtime.unsynchronised(model), _statistics_of(model, labels_N):
            summed = _summed_loss(model, images_NCHW, labels_N, runtime, label_smoothing)
            # Gradients are averaged over ranks, so that each has its share of the batch's mean times their number.
            scaler.scale(summed * runtime.world_size / num_total).backward()  # type: ignore[no-untyped-call]
        sums.append(summed.detach())
    scaler.step(optimizer)
    scaler.update()
    return runtime.total(torch.stack(sums).sum()) / num_total


def _summed_loss(
    model: nn.Module, images_NCHW: Tensor, labels_N: Tensor, runtime: Runtime, label_smoothing: float
) -> Tensor:
    """Return the sum of the losses of some samples: float32 []."""
    with runtime.autocast():
        logits_N = model(images_NCHW)
    targets_N = labels_N + label_smoothing * (0.5 - labels_N) if label_smoothing else labels_N
    return functional.binary_cross_entropy_with_logits(logits_N.float(), targets_N, reduction="sum")


@contextlib.contextmanager
def _statistics_of(model: nn.Module, labels_N: Tensor) -> Iterator[None]:
    """Keep each rank's own BatchNorm from making statistics of nothing, where this rank has no sample."""
    norms = [] if len(labels_N) else [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def infer(model: nn.Module, batches: Iterable[Batch], runtime: Runtime) -> Iterator[tuple[Batch, Tensor]]:
    """Yield each batch with its logits float32 [N], on the device. Puts the model in evaluation mode."""
    model.eval()
    for batch in batches:
        # Entered anew for every batch: a generator must not leave a mode switched while its caller runs.
        with torch.inference_mode(), runtime.autocast():
            logits_N = model(batch.images_NCHW).float()
        yield batch, logits_N


def collect(parts: list[tuple[Tensor, Tensor, Tensor]], runtime: Runtime) -> Predictions:
    """Bring (indices, labels, logits) of all batches, and of all ranks, to the host: in the order of one process."""
    if not parts:
        return Predictions(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))
    # One transfer of each column; a column at a time is then cut into batches again.
    columns = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
    if runtime.world_size == 1:
        return Predictions(*columns)
    ends = np.cumsum([len(indices_N) for indices_N, _, _ in parts])[:-1]
    ranks = runtime.gather([np.split(column, ends) for column in columns])
    return Predictions(*(np.concatenate(_in_turn([rank[n] for rank in ranks])) for n in range(len(columns))))


def _in_turn(batches_of_ranks: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Return each step's shares, one rank's after the other's."""
    return [share for step in zip(*batches_of_ranks, strict=True) for share in step]


def predict_logits(
    model: nn.Module,
    batches: Iterable[Batch],
    runtime: Runtime,
    advance: Callable[[int], None] | None = None,
) -> Predictions:
    """Return the logits of every batch. Puts the model in evaluation mode.

    Args:
        model: Maps images [N, 3, H, W] to logits [N]; on the runtime's device.
        batches: On the runtime's device.
        runtime: Device and precision.
        advance: Called after each batch with the number of patches done so far.

    Returns:
        NumPy arrays in the order the batches were yielded.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    done = 0
    for batch, logits_N in infer(model, batches, runtime):
        parts.append((batch.indices_N, batch.labels_N, logits_N))
        done += batch.num_total or len(logits_N)
        if advance is not None:
            advance(done)
    return collect(parts, runtime)
