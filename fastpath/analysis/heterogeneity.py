"""How much a measure differs between sites beyond what chance explains. K sites."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.intervals import LEVEL, Interval

Floats = NDArray[np.float64]

_LARGEST = 1e6  # of a between-site variance: far above what logits can differ by


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """A random-effects summary of K estimates.

    Attributes:
        num: K, estimates with a standard error.
        mean: The mean over sites with its interval (Hartung and Knapp 2001; never narrower than without their factor).
        q: Cochran's Q.
        p_value: Chance of so large a Q where all sites are alike; with few sites it seldom is small.
        i_squared: Share of the spread that is not chance, 0 to 1, with the interval that `tau` gives.
        tau: Standard deviation between sites (DerSimonian and Laird 1986), with the Q-profile interval (Viechtbauer
            2007).
        next_low: Lower end of the prediction interval: where the measure of another such site is to be expected
            (Higgins et al. 2009, Student's t with K - 2 degrees of freedom); NaN below three sites.
        next_high: Upper end.
    """

    num: int
    mean: Interval
    q: float
    p_value: float
    i_squared: Interval
    tau: Interval
    next_low: float
    next_high: float


def summarise(values_K: NDArray[Any], errors_K: NDArray[Any], level: float = LEVEL) -> Heterogeneity | None:
    """Summarise estimates of one measure from independent sites; None below two that have an error.

    Args:
        values_K: Estimates, on a scale where their errors are about normal: logits of an AUC.
        errors_K: Their standard errors; who has none, or is not finite, is left out.
        level: Of the intervals.
    """
    from scipy.stats import chi2, t

    values_K, errors_K = np.asarray(values_K, np.float64), np.asarray(errors_K, np.float64)
    usable_K = np.isfinite(values_K) & np.isfinite(errors_K) & (errors_K > 0)
    values_K, variance_K = values_K[usable_K], errors_K[usable_K] ** 2
    num = len(values_K)
    if num < 2:
        return None
    weights_K = 1 / variance_K
    q, typical = _q(values_K, variance_K, 0.0), _typical(weights_K)
    squared = max(0.0, (q - (num - 1)) / (weights_K.sum() - (weights_K**2).sum() / weights_K.sum()))
    ends = [_profile(values_K, variance_K, float(chi2.ppf((1 + side * level) / 2, num - 1))) for side in (1, -1)]
    between = Interval(squared, min(ends[0], squared), max(ends[1], squared))
    weights_K = 1 / (variance_K + squared)
    mean, error = float(np.average(values_K, weights=weights_K)), math.sqrt(1 / weights_K.sum())
    scale = max(1.0, math.sqrt(_q(values_K, variance_K, squared) / (num - 1)))
    reach = float(t.ppf((1 + level) / 2, num - 1)) * error * scale
    ahead = math.hypot(error, math.sqrt(squared)) * float(t.ppf((1 + level) / 2, num - 2)) if num > 2 else math.nan
    return Heterogeneity(
        num=num,
        mean=Interval(mean, mean - reach, mean + reach),
        q=q,
        p_value=float(chi2.sf(q, num - 1)),
        i_squared=_each(between, lambda value: value / (value + typical)),
        tau=_each(between, math.sqrt),
        next_low=mean - ahead,
        next_high=mean + ahead,
    )


def _q(values_K: Floats, variance_K: Floats, between: float) -> float:
    """Return the weighted sum of squares about the weighted mean, with that variance between sites."""
    weights_K = 1 / (variance_K + between)
    return float((weights_K * (values_K - np.average(values_K, weights=weights_K)) ** 2).sum())


def _typical(weights_K: Floats) -> float:
    """Return the typical variance within a site (Higgins and Thompson 2002)."""
    return float((len(weights_K) - 1) * weights_K.sum() / (weights_K.sum() ** 2 - (weights_K**2).sum()))


def _profile(values_K: Floats, variance_K: Floats, quantile: float) -> float:
    """Return the between-site variance at which Q is that quantile of its distribution; 0 where it is never so large.

    Q falls as the variance rises.
    """
    from scipy.optimize import brentq

    if _q(values_K, variance_K, 0.0) <= quantile:
        return 0.0
    return float(brentq(lambda between: _q(values_K, variance_K, between) - quantile, 0.0, _LARGEST, xtol=1e-12))


def _each(interval: Interval, change: Callable[[float], float]) -> Interval:
    return Interval(change(interval.value), change(interval.low), change(interval.high))
