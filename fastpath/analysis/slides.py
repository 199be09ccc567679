"""From the probabilities of tiles to a score of the slide, and from a heatmap to detections. N tiles, G slides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics, weighted
from fastpath.analysis.intervals import Interval
from fastpath.errors import DataError

Floats = NDArray[np.float64]

TOP_K = 10
AGGREGATIONS = ("max", "mean", "top_k", "noisy_or")
"""The surest tile; the mean; the mean of the `TOP_K` surest; the chance of any tumour were tiles independent."""

_SUREST = 1 - 1e-12  # a probability of 1 would make the noisy-or of its slide infinite on the logarithmic scale


@dataclass(frozen=True, slots=True)
class SlideTable:
    """Slides of a table of predictions, in the order of their names.

    Attributes:
        names_G: Names.
        num_G: Patches of each.
        labels_G: 1 where any patch is positive, 0 where all are negative, -1 where patches are unlabelled.
        positive_share_G: Share of patches labelled 1; NaN where patches are unlabelled.
        scores: By aggregation, float64 [G].
        auc: By aggregation, between slides with and without a positive patch, with its interval over slides; None where
            there is one kind only.
    """

    names_G: list[str]
    num_G: NDArray[np.int64]
    labels_G: NDArray[np.int8]
    positive_share_G: Floats
    scores: dict[str, Floats]
    auc: dict[str, Interval] | None


def slide_scores(probability_N: NDArray[Any], top_k: int = TOP_K) -> dict[str, float]:
    """Return one slide's score by every aggregation.

    Args:
        probability_N: In 0 to 1, at least one.
        top_k: Tiles that `top_k` averages; fewer where there are fewer.
    """
    probability_N = np.asarray(probability_N, np.float64)
    surest = np.sort(probability_N)[::-1][:top_k]
    return {
        "max": float(surest[0]),
        "mean": float(probability_N.mean()),
        "top_k": float(surest.mean()),
        "noisy_or": float(-np.expm1(-evidence(probability_N))),
    }


def evidence(probability_N: NDArray[Any]) -> float:
    """Return -log of the chance that no tile is tumour: noisy-or on a scale that does not saturate at 1."""
    return float(-np.log1p(-np.minimum(np.asarray(probability_N, np.float64), _SUREST)).sum())


def by_slide(
    groups_N: NDArray[Any], labels_N: NDArray[Any], probability_N: NDArray[Any], top_k: int = TOP_K
) -> SlideTable:
    """Aggregate patches by slide and measure how well each score tells slides with tumour from those without.

    Args:
        groups_N: Name of each patch's slide.
        labels_N: 0, 1, or -1 where unknown.
        probability_N: In 0 to 1.
        top_k: Tiles that `top_k` averages.

    Raises:
        DataError: A probability is out of range, or there are no patches.
    """
    probability_N, labels_N = np.asarray(probability_N, np.float64), np.asarray(labels_N)
    if not len(probability_N) or not ((probability_N >= 0) & (probability_N <= 1)).all():
        problem = "values that are not in 0 to 1" if len(probability_N) else "no patches"
        raise DataError("probability", f"found {problem}, wanted probabilities", "give a table of predictions")
    names_G, group_N = np.unique(np.asarray(groups_N).astype(str), return_inverse=True)
    members = np.split(np.argsort(group_N, kind="stable"), np.cumsum(np.bincount(group_N))[:-1])
    scores = [slide_scores(probability_N[rows], top_k) for rows in members]
    unknown_G = np.array([(labels_N[rows] < 0).any() for rows in members])
    share_G = np.array([np.mean(labels_N[rows] == 1) for rows in members])
    labels_G = np.where(unknown_G, -1, share_G > 0).astype(np.int8)
    columns = {name: np.array([score[name] for score in scores]) for name in AGGREGATIONS}
    ranked = columns | {"noisy_or": np.array([evidence(probability_N[rows]) for rows in members])}
    measurable = bool((labels_G == 1).any() and (labels_G == 0).any())
    known_G = labels_G >= 0
    return SlideTable(
        names_G=names_G.tolist(),
        num_G=np.array([len(rows) for rows in members], np.int64),
        labels_G=labels_G,
        positive_share_G=np.where(unknown_G, np.nan, share_G),
        scores=columns,
        auc={name: auc_interval(labels_G[known_G], ranked[name][known_G]) for name in AGGREGATIONS}
        if measurable
        else None,
    )


def auc_interval(labels_G: NDArray[Any], scores_G: NDArray[Any]) -> Interval:
    """Return the AUC between slides with its interval over slides; without ends where slides are few, or none errs.

    Args:
        labels_G: 0 or 1, both present.
        scores_G: Of any monotone scale.
    """
    if len(labels_G) < intervals.MIN_SLIDES:
        return Interval(metrics.roc_auc(labels_G, scores_G), np.nan, np.nan)
    scores = weighted.prepare(labels_G, scores_G)
    units = intervals.units_of(np.arange(len(labels_G)), len(labels_G), labels_G)
    return intervals.bootstrap(lambda weights_BG: weighted.auc(scores, weights_BG)[:, None], units, ["logit"])[0]


def detections(
    places_N2: NDArray[np.int64], scores_N: NDArray[Any], radius: float, least: float = 0.0
) -> NDArray[np.int64]:
    """Return the tiles that are no one's shadow: from the surest down, each rules out those within `radius`.

    Args:
        places_N2: Row and column of each tile on a grid.
        scores_N: Higher is surer.
        radius: On that grid; tiles at this distance are ruled out too.
        least: Tiles that score lower are no detections.

    Returns:
        Positions among the N, the surest first.
    """
    scores_N = np.asarray(scores_N, np.float64)
    if not len(scores_N):
        return np.empty(0, np.int64)
    reach = int(np.ceil(radius))
    low_2 = places_N2.min(axis=0)
    free = np.ones(tuple(places_N2.max(axis=0) - low_2 + 1 + 2 * reach), bool)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(y, x) > radius
    kept = []
    for tile in np.argsort(-scores_N, kind="stable"):
        if scores_N[tile] < least:
            break
        row, column = places_N2[tile] - low_2 + reach
        if free[row, column]:
            kept.append(tile)
            free[row - reach : row + reach + 1, column - reach : column + reach + 1] &= disc
    return np.array(kept, np.int64)
