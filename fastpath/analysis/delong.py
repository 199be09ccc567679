"""How sure an AUC is, and how sure the difference of two on the same patches. M positives, K negatives.

The estimate is of DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845, by the ranks of Sun and Xu, IEEE
Signal Processing Letters 21 (2014) 1389-1393: O(N log N). It takes patches as independent; where they come from
slides, `paired.compare_paired` draws whole slides instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two AUCs of the same patches, compared.

    Attributes:
        auc_a: The first's.
        auc_b: The second's.
        difference: `auc_a` - `auc_b`.
        standard_error: Of the difference; 0 where the two rank every pair of classes alike.
        p_value: Two-sided, that chance alone gives a difference as large.
    """

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    p_value: float


def placements(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return each positive's share of negatives below it, [M], and each negative's share of positives above it, [K].

    Ties count half; the mean of either is the AUC. Both classes must be there.

    Args:
        labels_N: 0 or 1.
        logits_N: Finite, of any monotone scale.
    """
    positive_N = np.asarray(labels_N) == 1
    positive_M, negative_K = np.sort(logits_N[positive_N]), np.sort(logits_N[~positive_N])
    assert len(positive_M), "no positives"
    assert len(negative_K), "no negatives"
    return (
        _share_below(negative_K, logits_N[positive_N]),
        1.0 - _share_below(positive_M, logits_N[~positive_N]),
    )


def variance(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return the variance of the AUC's estimate; NaN where a class has one patch only."""
    return float(covariance(labels_N, np.asarray(logits_N)[np.newaxis])[0, 0])


def covariance(labels_N: NDArray[Any], logits_RN: NDArray[Any]) -> Floats:
    """Return the covariance [R, R] of the AUCs of R scores of the same patches; NaN where a class has one patch.

    Args:
        labels_N: 0 or 1, both present.
        logits_RN: Finite; a row per score.
    """
    parts = [placements(labels_N, logits_N) for logits_N in logits_RN]
    total = np.zeros((len(parts), len(parts)))
    for values_RX in (np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts])):
        num = values_RX.shape[1]
        if num < 2:
            return np.full_like(total, np.nan)
        total += np.atleast_2d(np.cov(values_RX, ddof=1)) / num
    return total


def paired_test(labels_N: NDArray[Any], logits_a_N: NDArray[Any], logits_b_N: NDArray[Any]) -> PairedTest:
    """Test whether two scores of the same patches have the same AUC.

    Where the standard error is 0 the p-value is 1 if the AUCs are equal, which they then are.

    Args:
        labels_N: 0 or 1, both present.
        logits_a_N: Finite.
        logits_b_N: Finite.
    """
    logits_2N = np.stack([np.asarray(logits_a_N, np.float64), np.asarray(logits_b_N, np.float64)])
    auc_a, auc_b = (metrics.roc_auc(labels_N, logits_N) for logits_N in logits_2N)
    found_22 = covariance(labels_N, logits_2N)
    spread = float(found_22[0, 0] + found_22[1, 1] - 2.0 * found_22[0, 1])
    error = math.sqrt(max(spread, 0.0)) if not math.isnan(spread) else math.nan
    difference = auc_a - auc_b
    if error > 1e-12:
        p_value = math.erfc(abs(difference) / error / math.sqrt(2.0))
    else:
        p_value = math.nan if math.isnan(error) else float(abs(difference) < 1e-12)
        error = error if math.isnan(error) else 0.0
    return PairedTest(auc_a, auc_b, difference, error, p_value)


def _share_below(sorted_X: NDArray[Any], values_Y: NDArray[Any]) -> Floats:
    """Return for each value the share of `sorted_X` below it, ties counting half."""
    below_Y = np.searchsorted(sorted_X, values_Y, side="left") + np.searchsorted(sorted_X, values_Y, side="right")
    share_Y: Floats = below_Y / (2.0 * len(sorted_X))
    return share_Y
