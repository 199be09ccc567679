"""Discrimination, sensitivity and observed over expected of parts of a table: where a network is worse than on all.

N patches of the table, B weightings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics, weighted
from fastpath.analysis.intervals import Estimate, Interval, Units
from fastpath.analysis.proportions import proportion

Floats = NDArray[np.float64]
Names = NDArray[np.object_]

FEW_PATCHES, FEW_SLIDES = 20, intervals.MIN_SLIDES
"""With fewer patches of a class, or fewer slides, a subgroup's numbers are warned of."""

MOST_VALUES = 50
"""Columns with more distinct values name patches, not groups of them."""

UNKNOWN = "unknown"
_NONE = Estimate(math.nan, "plain", math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Patches that share a value.

    Attributes:
        variable: What they share a value of.
        value: The value.
        num_patches: Patches.
        num_positive: Of these, labelled 1.
        num_slides: Slides they are of; 0 where unknown.
        auc: Within the subgroup; NaN where it holds one class only.
        auc_error: Its standard error on the logit scale; NaN where it has none.
        sensitivity: At the threshold, Wilson's interval; NaN without a positive.
        observed_over_expected: Positives over the sum of probabilities; NaN where it holds one class only.
        below_whole: The whole table's AUC lies above the AUC's interval even when that is widened for the number of
            subgroups looked at (Bonferroni). Never of a subgroup that is warned of.
        warnings: Why its numbers are to be taken with care.
    """

    variable: str
    value: str
    num_patches: int
    num_positive: int
    num_slides: int
    auc: Interval
    auc_error: float
    sensitivity: Interval
    observed_over_expected: Interval
    below_whole: bool
    warnings: tuple[str, ...]


def quarters(values_N: Floats) -> Names:
    """Name the quarter of the table that each value falls into, object [N]; ties stay together, NaN is `unknown`."""
    known_N = np.isfinite(values_N)
    names_N = np.full(len(values_N), UNKNOWN, object)
    if not known_N.any():
        return names_N
    edges = np.unique(np.quantile(values_N[known_N], [0.25, 0.5, 0.75]))
    ends = [-math.inf, *edges.tolist(), math.inf]
    place_N = np.searchsorted(edges, values_N, side="left")
    for place in range(len(ends) - 1):
        low, high = ends[place], ends[place + 1]
        text = f"above {low:.3g}" if math.isinf(high) else f"up to {high:.3g}"
        if math.isfinite(low) and math.isfinite(high):
            text = f"{low:.3g} to {high:.3g}"
        names_N[known_N & (place_N == place)] = text
    return names_N


def survey(
    labels_N: NDArray[Any],
    logits_N: NDArray[Any],
    groups_N: Names | None,
    columns: Mapping[str, Names],
    *,
    threshold: float = 0.5,
    seed: int = 0,
) -> list[Subgroup]:
    """Judge every value of every column, those with the lowest AUC first, those without an AUC last.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Calibrated logits, finite.
        groups_N: Slides, None where unknown.
        columns: By variable, the value of each patch, object [N] of str.
        threshold: Probability from which a patch is called positive.
        seed: Decides the resamples.
    """
    labels_N, logits_N = np.asarray(labels_N), np.asarray(logits_N, np.float64)
    units = intervals.units_of(groups_N, len(labels_N), labels_N)
    parts = [(name, value, values_N == value) for name, values_N in columns.items() for value in _values(values_N)]
    subgroups_ = [
        _subgroup(name, str(value), part_N, labels_N, logits_N, groups_N, units, threshold, seed)
        for name, value, part_N in parts
    ]
    whole, compared = metrics.roc_auc(labels_N, logits_N), sum(auc.error > 0 for _, auc in subgroups_)
    level = 1 - (1 - intervals.LEVEL) / max(compared, 1)
    marked = [
        replace(subgroup, below_whole=not subgroup.warnings and bool(auc.interval(level).high < whole))
        for subgroup, auc in subgroups_
    ]
    return sorted(marked, key=lambda subgroup: math.inf if math.isnan(subgroup.auc.value) else subgroup.auc.value)


def usable(values_N: Names) -> bool:
    """Return whether a column tells groups of patches apart: more than one value, and not one a patch."""
    return 1 < len(set(values_N.tolist())) <= min(MOST_VALUES, len(values_N) // 2)


def _values(values_N: Names) -> Sequence[str]:
    return sorted(set(values_N.tolist()))


def _subgroup(
    variable: str,
    value: str,
    part_N: NDArray[np.bool_],
    labels_N: NDArray[Any],
    logits_N: Floats,
    groups_N: Names | None,
    whole: Units,
    threshold: float,
    seed: int,
) -> tuple[Subgroup, Estimate]:
    """Return a subgroup, and its AUC as an estimate."""
    labels_M, logits_M, units = labels_N[part_N], logits_N[part_N], whole.part(part_N)
    positive_M = labels_M == 1
    num_positive, num_slides = int(positive_M.sum()), 0 if groups_N is None else len(set(groups_N[part_N].tolist()))
    auc, ratio = _NONE, _NONE
    if 0 < num_positive < len(labels_M):
        auc, ratio = _estimates(labels_M, logits_M, units, seed)
    called_M = metrics.probabilities(logits_M) >= threshold
    subgroup = Subgroup(
        variable=variable,
        value=value,
        num_patches=len(labels_M),
        num_positive=num_positive,
        num_slides=num_slides,
        auc=auc.interval(),
        auc_error=auc.error if auc.error > 0 else math.nan,
        sensitivity=proportion(called_M, positive_M, units) if num_positive else _NONE.interval(),
        observed_over_expected=ratio.interval(),
        below_whole=False,
        warnings=_warnings(len(labels_M), num_positive, num_slides if groups_N is not None else None),
    )
    return subgroup, auc


def _estimates(labels_M: NDArray[Any], logits_M: Floats, units: Units, seed: int) -> list[Estimate]:
    scores = weighted.prepare(labels_M, logits_M)

    def statistic(weights_BM: Floats) -> Floats:
        ratio_B = weighted.observed_over_expected(labels_M, logits_M, weights_BM)
        return np.stack([weighted.auc(scores, weights_BM), ratio_B], axis=1)

    few = intervals.FEWEST_REPLICATES
    return intervals.estimates(statistic, units, ["logit", "log"], replicates=few, seed=seed)


def _warnings(num: int, num_positive: int, num_slides: int | None) -> tuple[str, ...]:
    notices, num_negative = [], num - num_positive
    if not num_positive or not num_negative:
        notices.append(f"one class only: {num_positive} with tumour, {num_negative} without")
    elif min(num_positive, num_negative) < FEW_PATCHES:
        notices.append(f"small: {num_positive} with tumour, {num_negative} without")
    if num_slides is not None and num_slides < FEW_SLIDES:
        notices.append(f"few slides: {num_slides}")
    return tuple(notices)
