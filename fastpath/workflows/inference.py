"""Score patches that lie in no store, masked ones or tiles of a slide: one network, any number of passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fastpath.data.loader import eval_loader
from fastpath.data.residency import Patches
from fastpath.engine.step import infer
from fastpath.errors import DataError
from fastpath.runtime import Runtime
from fastpath.types import Batch
from fastpath.workflows.trained import TrainedRun


def batches(run: TrainedRun, patches: Patches, rows_N: NDArray[np.int64], runtime: Runtime) -> Iterator[Batch]:
    """Yield patches as the network sees them in an evaluation; a batch holds until the next one is asked for."""
    with closing(eval_loader(patches, rows_N, run.stats, run.config, runtime)) as loader:
        yield from loader


def scored(
    run: TrainedRun, model: nn.Module, patches: Patches, rows_N: NDArray[np.int64], runtime: Runtime
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Yield each batch, which holds until the next one is asked for, and its logits.

    Raises:
        DataError: A logit is not finite.
    """
    for batch, logits_N in infer(model, batches(run, patches, rows_N, runtime), runtime):
        found_N = logits_N.cpu().numpy()
        if not np.isfinite(found_N).all():
            raise DataError(run.path, "gives logits that are not finite", "train again with a lower learning rate")
        yield batch, found_N


def all_logits(
    run: TrainedRun,
    model: nn.Module,
    patches: Patches,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    advance: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of these rows, float32 [N], in their order.

    Args:
        run: Configuration and normalisation.
        model: The run's network, on the device.
        patches: Where the rows lie.
        rows_N: int64 [N].
        runtime: Device and precision.
        advance: Called with the patches done so far.
    """
    parts, done = [], 0
    for _, logits_N in scored(run, model, patches, rows_N, runtime):
        parts.append(logits_N)
        done += len(logits_N)
        if advance is not None:
            advance(done)
    return np.concatenate(parts)
