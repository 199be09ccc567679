"""One training step and one pass of inference. Nothing here waits for the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastpath.engine.cuda_graphs import Step, graphed
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
    """Take one optimiser step on a batch, operation by operation: a call of what `make_step` returns."""
    step = make_step(
        model, optimizer, scaler, runtime, label_smoothing=label_smoothing, accumulate=accumulate, cuda_graph=False
    )
    return step(batch)


def make_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
    runtime: Runtime,
    *,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
    cuda_graph: bool = True,
) -> Step:
    """Return what takes one optimiser step on a batch, of which this rank may have a share.

    A disabled scaler passes everything through, so there is one code path for every precision.

    Args:
        model: Maps images [N, 3, H, W] to logits [N]; on the runtime's device, in training mode.
        optimizer: Over the model's trained parameters.
        scaler: Of the loss.
        runtime: Device and precision.
        label_smoothing: Share of the way from each label to one half that the target is moved.
        accumulate: Parts that the share passes in, one after the other, for want of memory for all of it.
        cuda_graph: Record loss and gradients as a CUDA graph, where there is CUDA.

    Returns:
        From a batch on the runtime's device to the whole batch's mean loss before the step: float32 [], detached.
    """

    def differentiate(batch: Batch) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        return _differentiate(model, batch, scaler, runtime, label_smoothing, accumulate)

    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    differentiated = graphed(differentiate, parameters, runtime, enabled=cuda_graph)

    def step(batch: Batch) -> Tensor:
        loss = differentiated(batch)
        scaler.step(optimizer)
        scaler.update()
        return loss

    return step


def _differentiate(
    model: nn.Module, batch: Batch, scaler: GradScaler, runtime: Runtime, label_smoothing: float, accumulate: int
) -> Tensor:
    """Add a batch's gradients to the model's parameters; return its mean loss float32 [], detached.

    The loss is computed in float32 from logits: BCE of a sigmoid is refused under autocast, and loses small
    probabilities.
    """
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
    return runtime.all_reduce_sum(torch.stack(sums).sum()) / num_total


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


class LogitTable:
    """Logits of batches, on the device until all of them are brought to the host.

    Room is made ahead, twice as much each time: a small tensor kept from each batch would lie where large activations
    were, so that the next batch's find no place and memory grows.

    Attributes:
        num_patches: Patches added so far, over all ranks.
    """

    def __init__(self, runtime: Runtime, room: int = 4096) -> None:
        self.num_patches = 0
        self._runtime, self._ends = runtime, [0]
        dtypes = (torch.int64, torch.float32, torch.float32)
        self._columns = [torch.empty(room, dtype=dtype, device=runtime.device) for dtype in dtypes]

    def add(self, batch: Batch, logits_N: Tensor) -> None:
        """Keep a batch's indices, labels and logits: float32 [N], N being this rank's share of the batch."""
        end = self._ends[-1] + len(logits_N)
        while end > len(self._columns[0]):
            self._columns = [torch.cat([column, torch.empty_like(column)]) for column in self._columns]
        for column, values_N in zip(self._columns, (batch.indices_N, batch.labels_N, logits_N), strict=True):
            column[self._ends[-1] : end] = values_N
        self._ends.append(end)
        self.num_patches += batch.num_total or len(logits_N)

    def predictions(self) -> Predictions:
        """Bring the table, and those of all ranks, to the host: in the order of one process."""
        # One transfer of each column; where there are ranks, a column is then cut into batches again.
        columns = [column[: self._ends[-1]].cpu().numpy() for column in self._columns]
        if self._runtime.world_size == 1:
            return Predictions(*columns)
        ranks = self._runtime.gather([np.split(column, self._ends[1:-1]) for column in columns])
        return Predictions(*(np.concatenate(_in_turn([rank[n] for rank in ranks])) for n in range(len(columns))))


def _in_turn(batches_of_ranks: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Return each step's shares, one rank's after the other's."""
    return [part for step in zip(*batches_of_ranks, strict=True) for part in step]
