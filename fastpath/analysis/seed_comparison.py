"""Which of several settings, each tried with the same seeds, is better. S settings, R seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.paired import holm

Floats = NDArray[np.float64]
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Contrast:
    """One setting against another.

    Attributes:
        first: Row of the setting with the higher mean.
        second: Row of the other.
        difference: Mean over seeds of first - second, not negative.
        standard_error: Of the difference; NaN with one seed.
        p_value: Two-sided; NaN with one seed, or where seeds make no difference at all.
        p_corrected: The same, corrected for all pairs (Holm).
        better: Whether `p_corrected` is below 0.05; otherwise the two are not distinguishable.
    """

    first: int
    second: int
    difference: float
    standard_error: float
    p_value: float
    p_corrected: float
    better: bool


def contrasts(values_SR: Floats) -> list[Contrast]:
    """Compare every pair of settings, blocked by seed, the largest difference first.

    A seed makes all settings better or worse alike (the same first weights, order, drawn subset), so what varies is
    taken as setting + seed + noise. The noise is estimated from all settings together, with (S - 1)(R - 1) degrees of
    freedom: with 3 seeds a paired t-test has 2 and needs a difference of 2.5 of its standard deviations, and
    Wilcoxon's can never go below p = 0.25. With two settings this is the paired t-test. All settings are taken to be
    equally noisy.

    Args:
        values_SR: A row per setting, a column per seed; none missing.
    """
    num_settings, num_seeds = values_SR.shape
    means_S = values_SR.mean(axis=1)
    noise_SR = values_SR - means_S[:, np.newaxis] - values_SR.mean(axis=0) + values_SR.mean()
    freedom = (num_settings - 1) * (num_seeds - 1)
    variance = float((noise_SR**2).sum() / freedom) if freedom else math.nan
    error = math.sqrt(2.0 * variance / num_seeds) if freedom else math.nan
    order = np.argsort(-means_S, kind="stable")
    pairs = [(int(a), int(b)) for at, a in enumerate(order) for b in order[at + 1 :]]
    differences = [float(means_S[a] - means_S[b]) for a, b in pairs]
    p_values = [_p_value(difference, error, freedom) for difference in differences]
    corrected = holm(p_values)
    results = [
        Contrast(a, b, difference, error, p, q, q < SIGNIFICANT)
        for (a, b), difference, p, q in zip(pairs, differences, p_values, corrected, strict=True)
    ]
    return sorted(results, key=lambda contrast: -contrast.difference)


def auc_error(auc: float, num_positive: int, num_negative: int) -> float:
    """Return the standard error of an AUC that chance in the choice of patches gives it, by its value alone.

    Hanley and McNeil, Radiology 143 (1982) 29-36; patches are taken as independent.
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (num_positive - 1) * (q1 - auc**2) + (num_negative - 1) * (q2 - auc**2)
    return math.sqrt(max(spread, 0.0) / (num_positive * num_negative))


def _p_value(difference: float, error: float, freedom: int) -> float:
    from scipy.special import stdtr

    if not error > 1e-12:
        return 1.0 if error == 0 and difference == 0 else math.nan
    return 2.0 * float(stdtr(freedom, -abs(difference) / error))
