"""How good scores are, as one value: every measure of the report with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastpath.analysis import intervals, measures, metrics
from fastpath.analysis.intervals import Interval
from fastpath.errors import DataError


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """How good scores are, each measure with its 95 % interval (`Interval`: value, low, high).

    Attributes:
        auc: Chance that a positive patch scores above a negative one.
        average_precision: Mean precision over recall.
        brier: Mean squared error of the probability; lower is better.
        log_loss: Cross-entropy in nats; lower is better.
        ece: Expected calibration error, 15 bins of equal width.
        calibration_slope: 1 is right; below 1 the network is too sure.
        measures: These and all others of the report, by name.
        num_patches: N.
        num_positive: Patches of label 1.
        units: What was drawn anew for the intervals: `slide` where at least five are known, else `patch`.
        num_units: How many there are.
    """

    auc: Interval
    average_precision: Interval
    brier: Interval
    log_loss: Interval
    ece: Interval
    calibration_slope: Interval
    num_patches: int
    num_positive: int
    units: Literal["slide", "patch"]
    num_units: int
    measures: Mapping[str, Interval] = field(repr=False)

    def __str__(self) -> str:
        lines = [f"{self.num_patches:,} patches, {self.num_positive:,} positive; intervals by {self.units}"]
        for measure in measures.MEASURES:
            got = self.measures[measure.name]
            lines.append(f"{measure.title:>20}  {got.value:.4f}  [{got.low:.4f}, {got.high:.4f}]")
        return "\n".join(lines)


def evaluate(
    labels: ArrayLike, logits: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0
) -> EvaluationResult:
    """Judge scores: what `fastpath evaluate` tells of the patches it judges, without a run or a store.

    Args:
        labels: [N], 0 or 1, both present.
        logits: [N], finite; log odds of label 1.
        groups: [N], the slide of each patch; None where slides are unknown, and intervals are then by patch, too
            narrow where patches of a slide are alike.
        seed: Decides the resamples.

    Raises:
        DataError: They are of different lengths, a label is neither 0 nor 1, a logit is not finite, or a class is
            absent.
    """
    labels_N, logits_N = np.asarray(labels), np.asarray(logits, np.float64)
    groups_N = None if groups is None else np.asarray(groups)
    _check_lengths(labels_N, logits_N, groups_N)
    metrics.roc_auc(labels_N, logits_N)  # refuses what cannot be judged
    units = intervals.units_of(groups_N, len(labels_N), labels_N)
    by_name = measures.with_intervals(labels_N, logits_N, units, seed)
    return EvaluationResult(
        auc=by_name["auc"],
        average_precision=by_name["average_precision"],
        brier=by_name["brier"],
        log_loss=by_name["log_loss"],
        ece=by_name["ece"],
        calibration_slope=by_name["calibration_slope"],
        num_patches=len(labels_N),
        num_positive=int((labels_N == 1).sum()),
        units=units.kind,
        num_units=units.num,
        measures=by_name,
    )


def _check_lengths(labels_N: NDArray[Any], logits_N: NDArray[Any], groups_N: NDArray[Any] | None) -> None:
    """Refuse values that are not one a patch.

    Raises:
        DataError: Naming the lengths.
    """
    shapes = [labels_N.shape, logits_N.shape, *([] if groups_N is None else [groups_N.shape])]
    if any(shape != (len(labels_N),) if labels_N.ndim else True for shape in shapes):
        problem = f"found shapes {', '.join(map(str, shapes))}, wanted one value a patch, of as many patches"
        raise DataError("labels, logits, groups", problem, "give arrays of one dimension and the same length")
