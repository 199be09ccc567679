"""A threshold that keeps its sensitivity on other slides, with a confidence that is told. N patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.analysis.intervals import Units
from fastpath.analysis.operating_points import OperatingPoint, between
from fastpath.analysis.proportions import effective_size

TARGET, CONFIDENCE = 0.95, 0.95


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The strictest threshold whose sensitivity elsewhere is at least `TARGET` with `CONFIDENCE`.

    Attributes:
        point: The threshold; None where these patches are worth too little for any.
        wanted: Sensitivity on these patches that it takes; NaN without one.
        worth: Independent positives that these are worth.
        words: The same in words.
    """

    point: OperatingPoint | None
    wanted: float
    worth: float
    words: str


def guaranteed(labels_N: NDArray[Any], logits_N: NDArray[Any], units: Units) -> Guarantee:
    """Choose a threshold by a confidence bound of the quantile of the positives' scores (Woodruff 1952).

    A threshold that reaches 95 % here misses it elsewhere half of the time. So one is chosen that reaches more here: as
    much as puts the lower confidence bound of the sensitivity, over slides, at 95 %. The bound is Clopper and Pearson's
    for as many independent positives as these are worth (Korn and Graubard 1998): their number over the design effect
    where the sensitivity is 95 %, less for few slides by Student's quantile.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Calibrated, finite.
        units: What the patches are a sample of.
    """
    from scipy.special import ndtri, stdtrit

    positive_N, logits_N = np.asarray(labels_N) == 1, np.asarray(logits_N, np.float64)
    points = metrics.curve(labels_N, logits_N)
    sensitivity_T = points.true_positives_T / points.num_positive
    plain = points.thresholds_T[np.flatnonzero(sensitivity_T >= TARGET)[0]]
    sizes_U = np.bincount(units.of_N[positive_N], minlength=units.num).astype(np.float64)
    hits_U = np.bincount(units.of_N[positive_N & (logits_N >= plain)], minlength=units.num).astype(np.float64)
    worth = float(sizes_U.sum())
    if units.kind == "slide":
        worth, slides = effective_size(hits_U, sizes_U, float(hits_U.sum() / sizes_U.sum()))
        worth *= float(ndtri(CONFIDENCE) / stdtrit(max(slides - 1, 1.0), CONFIDENCE)) ** 2
    by = "over slides" if units.kind == "slide" else "taking patches as independent"
    wanted = _needed(worth)
    if not wanted <= 1:
        least = np.ceil(np.log(1 - CONFIDENCE) / np.log(TARGET))
        text = (
            f"no threshold can be promised to reach {TARGET:.0%}: that takes positives worth {least:.0f} independent "
        )
        text += f"ones, and those of the calibration part are worth {worth:.0f}, {by}"
        return Guarantee(None, np.nan, worth, text)
    at = int(np.flatnonzero(sensitivity_T >= min(wanted, 1.0))[0])
    logit = between(points.thresholds_T, at)
    meaning = f"most specific with at least {TARGET:.0%} elsewhere, {CONFIDENCE:.0%} confidence {by}"
    probability = float(metrics.probabilities(np.array(logit)))
    point = OperatingPoint(f"{TARGET:.0%} sensitivity, assured", meaning, logit, probability)
    text = f"reaches {sensitivity_T[at]:.1%} on the calibration part, so that it reaches {TARGET:.0%} elsewhere"
    return Guarantee(point, wanted, worth, f"{text} with {CONFIDENCE:.0%} confidence, {by}")


def _needed(worth: float) -> float:
    """Return the share of hits among so many whose lower bound is `TARGET`; above 1 where not even all would do."""
    from scipy.special import betaincinv

    def bound(share: float) -> float:
        hits = share * worth
        return float(betaincinv(hits, worth - hits + 1, 1 - CONFIDENCE))

    if not worth > 0 or bound(1.0) < TARGET:
        return 2.0
    low, high = TARGET, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if bound(middle) >= TARGET else (middle, high)
    return high
