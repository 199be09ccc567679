"""Two scores of the same patches compared by resampling: patches, or whole groups of them. B draws, G groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import weighted

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedBootstrap:
    """The difference of two AUCs, with what resampling says of it.

    Attributes:
        difference: First AUC - second AUC, on all patches.
        low: Lower end of its 95 % interval; NaN where there is none.
        high: Its upper end.
        p_value: Two-sided, that chance alone gives a difference as large; NaN where there is no interval.
        num_units: What was drawn with replacement: patches, or groups.
        clustered: Whether these were groups.
    """

    difference: float
    low: float
    high: float
    p_value: float
    num_units: int
    clustered: bool


def bootstrap(
    labels_N: NDArray[Any],
    logits_a_N: NDArray[Any],
    logits_b_N: NDArray[Any],
    groups_N: NDArray[Any] | None = None,
    *,
    num_draws: int = 1000,
    seed: int = 0,
) -> PairedBootstrap:
    """Draw patches of each class, or groups, with replacement, and compare both scores on each draw.

    Patches of one slide resemble each other, so draws of patches make a difference look surer than it is: give
    `groups_N` where they are known. Interval and p-value are of Student's t with G - 1 degrees of freedom on the
    standard error of the draws, times √(G / (G - 1)): percentiles of few groups are too narrow.

    Args:
        labels_N: 0 or 1, both present.
        logits_a_N: Finite.
        logits_b_N: Finite.
        groups_N: Each patch's group; None takes patches as independent.
        num_draws: Resamplings.
        seed: Decides the draws.
    """
    from scipy.special import stdtr, stdtrit

    labels_N = np.asarray(labels_N)
    num_units = len(labels_N) if groups_N is None else len(np.unique(groups_N.astype(str)))
    first, second = weighted.prepare(labels_N, logits_a_N), weighted.prepare(labels_N, logits_b_N)

    def apart(weights_N: Floats) -> float:
        return float((weighted.auc(first, weights_N[None]) - weighted.auc(second, weights_N[None]))[0])

    difference = apart(np.ones(len(labels_N)))
    found_B = np.array([apart(weights_N) for weights_N in draws(labels_N, groups_N, num_draws, seed)])
    found_B = found_B[np.isfinite(found_B)]
    clustered = groups_N is not None
    if num_units < 2 or len(found_B) < 2:
        return PairedBootstrap(difference, math.nan, math.nan, math.nan, num_units, clustered)
    error = float(found_B.std(ddof=1)) * math.sqrt(num_units / (num_units - 1))
    if error < 1e-12:
        certain = 1.0 if abs(difference) < 1e-12 else math.nan
        return PairedBootstrap(difference, difference, difference, certain, num_units, clustered)
    reach = float(stdtrit(num_units - 1, 0.975)) * error
    p_value = 2.0 * float(stdtr(num_units - 1, -abs(difference) / error))
    return PairedBootstrap(difference, difference - reach, difference + reach, p_value, num_units, clustered)


def draws(labels_N: NDArray[Any], groups_N: NDArray[Any] | None, num_draws: int, seed: int) -> Iterator[Floats]:
    """Yield how often each patch is drawn, float64 [N], for each of `num_draws` resamplings."""
    generator = np.random.default_rng(seed)
    if groups_N is None:
        members = [np.flatnonzero(labels_N == label) for label in (0, 1)]
        for _ in range(num_draws):
            weights_N = np.zeros(len(labels_N))
            for rows in members:
                weights_N[rows] = np.bincount(generator.integers(len(rows), size=len(rows)), minlength=len(rows))
            yield weights_N
        return
    _, group_of_N = np.unique(groups_N.astype(str), return_inverse=True)
    num_groups = int(group_of_N.max()) + 1
    for _ in range(num_draws):
        times_G = np.bincount(generator.integers(num_groups, size=num_groups), minlength=num_groups)
        yield times_G[group_of_N].astype(np.float64)


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
