"""Whether probabilities are right on the whole: observed over expected, and calibration-in-the-large.

B weightings, N patches; weights as in `weighted`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.analysis.intervals import Scale

Floats = NDArray[np.float64]

NAMES = ("observed_over_expected", "calibration_intercept")
"""What `measure` returns, column by column."""

SCALES: tuple[Scale, ...] = ("log", "plain")
"""Where the errors of each are about normal."""

_STEPS, _LARGEST_STEP, _CLOSE = 60, 2.0, 1e-9


def measure(labels_N: NDArray[Any], logits_N: NDArray[Any], weights_BN: NDArray[Any]) -> Floats:
    """Return float64 [B, 2], columns as `NAMES`; NaN where a weighting leaves a class out.

    Observed over expected is the number of positives over the sum of probabilities: 1 is right, below 1 the
    probabilities are too high. The intercept is that of a logistic model with the logit as offset, so with a slope of
    1 (Cox 1958; calibration-in-the-large in Steyerberg et al. 2010): 0 is right, below 0 they are too high.

    Args:
        labels_N: 0 or 1.
        logits_N: Finite.
        weights_BN: Not negative.
    """
    logits_N, weights_BN = np.asarray(logits_N, np.float64), np.asarray(weights_BN, np.float64)
    ratio_B = observed_over_expected(labels_N, logits_N, weights_BN)
    observed_B = weights_BN @ (np.asarray(labels_N) == 1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        intercept_B = _intercept(observed_B, logits_N, weights_BN)
    return np.stack([ratio_B, np.where(np.isfinite(ratio_B), intercept_B, np.nan)], axis=1)


def observed_over_expected(labels_N: NDArray[Any], logits_N: NDArray[Any], weights_BN: NDArray[Any]) -> Floats:
    """Return the first column of `measure` alone, float64 [B]."""
    observed_B, total_B = weights_BN @ (np.asarray(labels_N) == 1).astype(np.float64), weights_BN.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio_B = observed_B / (weights_BN @ metrics.probabilities(logits_N))
    return np.where((observed_B > 0) & (observed_B < total_B), ratio_B, np.nan)


def _intercept(observed_B: Floats, logits_N: Floats, weights_BN: Floats) -> Floats:
    """Return what is to be added to the logits for as many positives to be expected as were observed.

    Newton's steps, bounded. The number expected rises with the intercept, so there is one solution.
    """
    found_B = np.zeros(len(weights_BN))
    for _ in range(_STEPS):
        probability_BN = metrics.probabilities(found_B[:, None] + logits_N)
        excess_B = observed_B - (weights_BN * probability_BN).sum(axis=1)
        slope_B = (weights_BN * (probability_BN * (1 - probability_BN))).sum(axis=1)
        step_B = np.clip(excess_B / slope_B, -_LARGEST_STEP, _LARGEST_STEP)
        found_B += step_B
        if np.nanmax(np.abs(step_B), initial=0.0) < _CLOSE:
            break
    return np.where(np.abs(step_B) < 1e3 * _CLOSE, found_B, np.nan)
