"""Score patches as they are or in all their views, from a store or from anything that hands out patches by row."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from fastpath.data.loader import eval_loader
from fastpath.engine.tta import NUM_VIEWS, predict_views
from fastpath.errors import DataError
from fastpath.runs.precision import settle
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.types import Patches, Samples, Tta


def score(
    run: TrainedRun,
    patches: Patches,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    advance: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of these rows as they are, float32 [N], in their order; see `score_views`."""
    return score_views(run, patches, rows_N, runtime, advance=advance)[:, 0]


def score_views(
    run: TrainedRun,
    patches: Patches,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    tta: Tta = "none",
    advance: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of these rows, float32 [N, V], in their order; the first column is the patch as it is.

    Args:
        run: Weights, configuration and normalisation.
        patches: A store, or a folder's files.
        rows_N: int64 [N].
        runtime: Device and precision.
        tta: `d4` for the eight views of the square, `none` for one.
        advance: Called with patches done and in all.

    Raises:
        DataError: The patches have another size or stain normalisation than those trained on, or a logit is not finite.
    """
    run.check_patches(patches)
    num_views = NUM_VIEWS if tta == "d4" else 1
    if not len(rows_N):
        return np.empty((0, num_views), np.float32)
    runtime = settle(runtime, run.config, training=False)
    model = runtime.prepare(run.network())
    report = (lambda done: advance(done, len(rows_N))) if advance else None
    with closing(eval_loader(Samples(patches, rows_N, run.stats), run.config, runtime)) as batches:
        result = predict_views(model, batches, runtime, len(rows_N), num_views=num_views, advance=report)
    assert np.array_equal(result.indices_N, rows_N), "the loader changed the order"
    broken = int((~np.isfinite(result.logits_NV)).any(axis=1).sum())
    if broken:
        problem = f"found {broken} of {len(rows_N)} not finite"
        raise DataError("logits", problem, "the weights are not usable; train again with a lower learning rate")
    return result.logits_NV
