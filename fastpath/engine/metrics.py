"""How good a set of logits is."""

from __future__ import annotations

import math

import numpy as np
from sklearn.metrics import roc_auc_score


def auc(labels_N: np.ndarray, logits_N: np.ndarray) -> float:
    """Return the area under the ROC curve, 0 to 1; NaN where only one class is there to be told from the other.

    Args:
        labels_N: [N], 0 or 1.
        logits_N: float [N], of any monotone scale.
    """
    if len(np.unique(labels_N)) < 2 or not np.isfinite(logits_N).all():
        return math.nan
    return float(roc_auc_score(labels_N, logits_N))


def bce(labels_N: np.ndarray, logits_N: np.ndarray) -> float:
    """Return the mean binary cross-entropy in nats, computed in float64 from logits; NaN of nothing."""
    if not len(labels_N):
        return math.nan
    logits, labels = logits_N.astype(np.float64), labels_N.astype(np.float64)
    # log(1 + e^z) - y z, without overflow for large z.
    return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))
