"""How good a set of logits is, while training goes on: what cannot be told is NaN and stops nothing."""

from __future__ import annotations

import math

import numpy as np

from fastpath.analysis import metrics


def auc(labels_N: np.ndarray, logits_N: np.ndarray) -> float:
    """Return the area under the ROC curve, 0 to 1; NaN where only one class is there to be told from the other.

    Args:
        labels_N: [N], 0 or 1.
        logits_N: float [N], of any monotone scale.
    """
    if len(np.unique(labels_N)) < 2 or not np.isfinite(logits_N).all():
        return math.nan
    return metrics.roc_auc(labels_N, logits_N)


def bce(labels_N: np.ndarray, logits_N: np.ndarray) -> float:
    """Return the mean binary cross-entropy in nats, computed in float64 from logits; NaN of nothing."""
    return float(metrics.cross_entropies(labels_N, logits_N).mean()) if len(labels_N) else math.nan
