"""AUCs of scores of the same patches, compared by the resamples of `intervals`. R scores, P pairs, N patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, weighted
from fastpath.analysis.intervals import Estimate, Units

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The difference of two AUCs, with what resampling says of it.

    Attributes:
        difference: First AUC - second AUC, on all patches.
        low: Lower end of its 95 % interval; NaN where there is none.
        high: Its upper end.
        p_value: Two-sided, that chance alone gives a difference as large; NaN where there is no interval.
        num_units: What was drawn with replacement: patches, or slides.
        clustered: Whether these were slides.
    """

    difference: float
    low: float
    high: float
    p_value: float
    num_units: int
    clustered: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """Several scores of the same patches, measured on the same resamples.

    Attributes:
        aucs: AUC of each score, on its plain scale.
        pairs: Difference of each pair asked for.
    """

    aucs: list[Estimate]
    pairs: list[PairedDifference]


def compare_paired(
    labels_N: NDArray[Any],
    logits_RN: NDArray[Any],
    units: Units,
    pairs: Sequence[tuple[int, int]],
    *,
    replicates: int | None = None,
    seed: int = 0,
) -> Compared:
    """Measure every score on the same resamples of whole units, and the differences of pairs.

    Patches of one slide resemble each other, so resamples of patches make a difference look surer than it is: let the
    units be slides where they are known.

    Args:
        labels_N: 0 or 1, both present.
        logits_RN: Finite; a row per score.
        units: What is resampled.
        pairs: Rows whose AUCs are subtracted, the second from the first.
        replicates: Resamples; None takes `intervals.num_replicates`.
        seed: Decides the resamples.
    """
    scores = [weighted.prepare(labels_N, logits_N) for logits_N in logits_RN]
    first_P, second_P = np.asarray(pairs, np.int64).reshape(-1, 2).T

    def statistic(weights_BN: Floats) -> Floats:
        aucs_BR = np.stack([weighted.auc(score, weights_BN) for score in scores], axis=1)
        return np.concatenate([aucs_BR, aucs_BR[:, first_P] - aucs_BR[:, second_P]], axis=1)

    scales: list[intervals.Scale] = ["plain"] * (len(scores) + len(pairs))
    estimates = intervals.estimates(statistic, units, scales, replicates=replicates, seed=seed)
    return Compared(estimates[: len(scores)], [_difference(result, units) for result in estimates[len(scores) :]])


def difference(
    labels_N: NDArray[Any],
    logits_a_N: NDArray[Any],
    logits_b_N: NDArray[Any],
    units: Units,
    *,
    replicates: int | None = None,
    seed: int = 0,
) -> PairedDifference:
    """Compare two scores; see `compare_paired`."""
    logits_2N = np.stack([np.asarray(logits_a_N, np.float64), np.asarray(logits_b_N, np.float64)])
    return compare_paired(labels_N, logits_2N, units, [(0, 1)], replicates=replicates, seed=seed).pairs[0]


def _difference(estimate: Estimate, units: Units) -> PairedDifference:
    clustered = units.kind == "slide"
    if estimate.error == 0.0 and abs(estimate.value) < 1e-12:  # both rank every pair of classes alike
        return PairedDifference(estimate.value, estimate.value, estimate.value, 1.0, units.num, clustered)
    ends = estimate.interval()
    return PairedDifference(estimate.value, ends.low, ends.high, estimate.p_value(), units.num, clustered)


def holm(p_values: list[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): any below 0.05 is one error in twenty families at most.

    NaN stays NaN and counts as a comparison all the same.
    """
    order = sorted(range(len(p_values)), key=lambda at: math.inf if math.isnan(p_values[at]) else p_values[at])
    corrected, highest = [math.nan] * len(p_values), 0.0
    for rank, at in enumerate(order):
        if not math.isnan(p_values[at]):
            highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
            corrected[at] = highest
    return corrected
