"""Wilson's interval of a share of patches that are not independent. N patches, U units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.intervals import LEVEL, Interval, Units, critical, effective_number
from fastpath.analysis.metrics import Floats


def proportion(hits_N: NDArray[Any], of_N: NDArray[Any], units: Units, level: float = LEVEL) -> Interval:
    """Return the share of hits among some patches, with Wilson's interval for as many patches as they are worth.

    Patches of one slide resemble each other, so n of them are worth n divided by the design effect: the variance of
    the share between slides over that of independent patches (Korn and Graubard 1998; Dean and Pagano 2015). They are
    worth at least the slides they are of, by `effective_number`: that many where all or none are hits. Student's
    degrees of freedom are that number less 1. For patches as units this is Wilson's interval.

    Args:
        hits_N: Whether each patch is a hit; read where `of_N`.
        of_N: Which patches are counted.
        units: What was sampled.
        level: Share of samples whose interval should cover the truth.
    """
    counted_N = np.asarray(of_N, bool)
    size = int(counted_N.sum())
    if not size:
        return Interval(math.nan, math.nan, math.nan)
    hits_U: Floats = np.bincount(units.of_N[counted_N], np.asarray(hits_N, np.float64)[counted_N], units.num).astype(
        np.float64
    )
    sizes_U: Floats = np.bincount(units.of_N[counted_N], minlength=units.num).astype(np.float64)
    share = float(hits_U.sum() / size)
    if units.kind == "slide":
        worth, slides = effective_size(hits_U, sizes_U, share)
        quantile = critical(max(slides - 1, 1.0), level)
    else:
        from scipy.special import ndtri

        worth, quantile = float(size), float(ndtri((1 + level) / 2))
    squared = quantile**2
    centre = (share + squared / (2 * worth)) / (1 + squared / worth)
    half = quantile / (1 + squared / worth) * math.sqrt(share * (1 - share) / worth + squared / (4 * worth**2))
    return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0))


def effective_size(hits_U: Floats, sizes_U: Floats, share: float) -> tuple[float, float]:
    """Return how many independent patches these are worth, and the number of slides they are worth.

    At most their number, at least the slides. The variance is the jackknife's, leaving out a slide at a time.
    """
    there_U = sizes_U > 0
    hits_U, sizes_U = hits_U[there_U], sizes_U[there_U]
    size, slides = float(sizes_U.sum()), effective_number(sizes_U)
    if not 0.0 < share < 1.0 or len(sizes_U) < 2:
        return slides, slides
    between = float((((hits_U.sum() - hits_U) / (size - sizes_U) - share) ** 2).sum())
    if between <= 0.0:
        return size, slides
    return float(np.clip(share * (1 - share) / between, min(slides, size), size)), slides
