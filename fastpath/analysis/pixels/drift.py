"""How far a set of patches looks from the one that was trained on: in numbers, and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals
from fastpath.analysis.intervals import Interval, Units
from fastpath.analysis.pixels.appearance import Measure

Floats = NDArray[np.float64]

SMALL, MEDIUM, LARGE = 0.2, 0.5, 0.8
"""Standardised differences (Cohen, "Statistical power analysis for the behavioral sciences", 1988)."""

CENTRAL = 0.95
"""Share of training patches within the range that `outside` is told of."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How one measure differs from that of the training set.

    Attributes:
        name: Of the measure.
        unit: What its numbers are in.
        training_mean: Mean over training patches.
        training_deviation: Their standard deviation.
        mean: Mean over the patches judged.
        difference: That less the training mean, with an interval by slide where slides are known: the training set is
            taken as it is.
        standardised: The difference in standard deviations of training patches (Glass's delta).
        outside: Share of the patches judged that lie outside the central 95 % of training patches; .05 where alike.
        words: The same as a phrase.
    """

    name: str
    unit: str
    training_mean: float
    training_deviation: float
    mean: float
    difference: Interval
    standardised: float
    outside: float
    words: str


def measure_shift(measure: Measure, training_M: Floats, found_N: Floats, units: Units, seed: int = 0) -> Shift | None:
    """Compare a measure of two sets; None where one of them has none, or training patches do not differ.

    Args:
        measure: What is compared.
        training_M: Of training patches; NaN where a patch has none.
        found_N: Of the patches judged.
        units: What the patches judged are a sample of.
        seed: Decides the resamples.
    """
    training_M, known_N = training_M[np.isfinite(training_M)], np.isfinite(found_N)
    deviation = float(training_M.std(ddof=1)) if len(training_M) > 1 else 0.0
    if not known_N.any() or deviation == 0.0:
        return None
    found_N, units = found_N[known_N], units.part(known_N)
    mean, before = float(found_N.mean()), float(training_M.mean())
    (difference,) = intervals.bootstrap(
        lambda weights_BN: ((weights_BN @ found_N) / weights_BN.sum(axis=1) - before)[:, None],
        units,
        ["plain"],
        replicates=intervals.FEWEST_REPLICATES,
        seed=seed,
    )
    low, high = np.quantile(training_M, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
    standardised = (mean - before) / deviation
    outside = float(((found_N < low) | (found_N > high)).mean())
    words = _words(measure, difference, standardised, outside)
    return Shift(measure.name, measure.unit, before, deviation, mean, difference, standardised, outside, words)


def _words(measure: Measure, difference: Interval, standardised: float, outside: float) -> str:
    """Return the finding as a phrase; no direction is named that the interval leaves open."""
    size = abs(standardised)
    open_question = difference.low <= 0 <= difference.high
    if size < SMALL or (open_question and size < MEDIUM):
        phrase = f"{measure.title} is like the training set's"
    else:
        degree = next(word for least, word in ((LARGE, "much "), (MEDIUM, ""), (0.0, "a little ")) if size >= least)
        phrase = f"{degree}{measure.more if standardised > 0 else measure.less} than the training set"
        phrase += ", as far as so few can tell" if open_question else ""
    phrase += "" if math.isfinite(difference.low) else ", no interval"
    return f"{phrase} ({standardised:+.2f} standard deviations; {outside:.0%} of patches outside its central 95 %)"
