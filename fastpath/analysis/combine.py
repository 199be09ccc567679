"""Several opinions of the same patches made one: views of a patch, or runs. N patches, K opinions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.analysis.metrics import Floats
from fastpath.errors import UsageError

Mean = Literal["logits", "probabilities", "ranks"]


def combine(logits_NK: NDArray[Any], mean: Mean = "logits", weights: Sequence[float] | None = None) -> Floats:
    """Return one logit a patch, float64 [N].

    Args:
        logits_NK: Finite.
        mean: Of `logits`; of `probabilities`; or of `ranks` among these patches, scaled to between 0 and 1, which
            ignores how sure each opinion is and needs no calibration.
        weights: One an opinion; None weighs them alike.

    Raises:
        UsageError: The weights do not fit.
    """
    logits_NK = np.asarray(logits_NK, np.float64)
    share_K = _shares(weights, logits_NK.shape[1])
    if logits_NK.shape[1] == 1 and mean != "ranks":
        return logits_NK[:, 0].copy()
    if mean == "logits":
        return np.asarray(logits_NK @ share_K)
    if mean == "probabilities":
        # The two tails are averaged apart, so that a probability near 1 loses no digits.
        return np.asarray(
            np.log(metrics.probabilities(logits_NK) @ share_K) - np.log(metrics.probabilities(-logits_NK) @ share_K)
        )
    from scipy.stats import rankdata

    ranks_NK = (rankdata(logits_NK, axis=0) - 0.5) / len(logits_NK)
    return metrics.logits(ranks_NK @ share_K)


def _shares(weights: Sequence[float] | None, num: int) -> Floats:
    if weights is None:
        return np.full(num, 1 / num)
    result = np.asarray(weights, np.float64)
    if len(result) != num or not (np.isfinite(result) & (result >= 0)).all() or result.sum() <= 0:
        shown = ", ".join(f"{value:g}" for value in result)
        problem = f"found {shown or 'none'}; wanted {num} numbers that are not negative, one a run"
        raise UsageError("--weights", problem, "give for example --weights 2,1")
    return np.asarray(result / result.sum())


def spread(logits_NK: NDArray[Any]) -> Floats:
    """Return the standard deviation of the opinions' probabilities, float64 [N], 0 to 0.5."""
    return np.asarray(metrics.probabilities(logits_NK).std(axis=1))
