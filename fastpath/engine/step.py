"""One training step and one pass of inference. Nothing here waits for the device."""

from __future__ import annotations

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
) -> Tensor:
    """Take one optimiser step on a batch.

    The loss is computed in float32 from logits: BCE of a sigmoid is refused under autocast, and loses small
    probabilities. A disabled scaler passes everything through, so there is one code path for every precision.

    Args:
        model: Maps images [N, 3, H, W] to logits [N]; on the runtime's device, in training mode.
        batch: On the runtime's device.
        optimizer: Over the model's trained parameters.
        scaler: Of the loss.
        runtime: Device and precision.
        label_smoothing: Share of the way from each label to one half that the target is moved.

    Returns:
        The batch's mean loss before the step: float32 [], detached, on the device.
    """
    optimizer.zero_grad(set_to_none=True)
    with runtime.autocast():
        logits_N = model(batch.images_NCHW)
    targets_N = batch.labels_N + label_smoothing * (0.5 - batch.labels_N) if label_smoothing else batch.labels_N
    loss = functional.binary_cross_entropy_with_logits(logits_N.float(), targets_N)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


def infer(model: nn.Module, batches: Iterable[Batch], runtime: Runtime) -> Iterator[tuple[Batch, Tensor]]:
    """Yield each batch with its logits float32 [N], on the device. Puts the model in evaluation mode."""
    model.eval()
    for batch in batches:
        # Entered anew for every batch: a generator must not leave a mode switched while its caller runs.
        with torch.inference_mode(), runtime.autocast():
            logits_N = model(batch.images_NCHW).float()
        yield batch, logits_N


def collect(parts: list[tuple[Tensor, Tensor, Tensor]]) -> Predictions:
    """Bring (indices, labels, logits) of all batches to the host, in one transfer each."""
    if not parts:
        return Predictions(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))
    indices_N, labels_N, logits_N = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return Predictions(indices_N, labels_N, logits_N)


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
        done += len(logits_N)
        if advance is not None:
            advance(done)
    return collect(parts)
