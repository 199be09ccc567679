"""The measures of a report, a row each: a row here is all that a new measure takes.

From its row a measure has a value and an interval in `metrics.json`, a tile at the head of the report, and a row of the
model card. B weightings: a resample is a weighting, and the value itself is of one weighting in which all count once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastpath.analysis import intervals, metrics, weighted
from fastpath.analysis.intervals import Interval, Scale, Units
from fastpath.analysis.weighted import Scores, Weighting
from fastpath.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """How good scores are, in one number.

    Attributes:
        name: Its key in `metrics.json`.
        values: From weightings to float64 [B]; NaN where a weighting leaves it undefined.
        scale: Where its errors are about normal (docs/decisions/0008-interval-scales.md): `logit` for shares, `log` for
            what has no upper end, `not negative` for what is biased upwards and ends at 0, `plain` otherwise.
        title: What a reader calls it.
        meaning: What it says, in a few words.
        tile: Whether it stands at the head of the report and in the model card; what does not stands in the table of
            calibrations alone.
    """

    name: str
    values: Callable[[Weighting], Floats]
    scale: Scale
    title: str
    meaning: str
    tile: bool = True


def _ece(weighting: Weighting) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        error_B: Floats = np.abs(weighting.bin_gaps_BK).sum(axis=1) / weighting.total_B
    return error_B


def _observed_over_expected(weighting: Weighting) -> Floats:
    scores = weighting.scores
    return weighted.observed_over_expected(scores.given_labels_N, scores.given_logits_N, weighting.given_weights_BN)


def _calibration_intercept(weighting: Weighting) -> Floats:
    scores = weighting.scores
    return weighted.calibration_intercept(scores.given_labels_N, scores.given_logits_N, weighting.given_weights_BN)


MEASURES = (
    Measure(
        "auc",
        lambda weighting: weighting.ranking[0],
        "logit",
        "AUC",
        "chance that a tumour patch scores above a normal one",
    ),
    Measure(
        "average_precision",
        lambda weighting: weighting.ranking[1],
        "logit",
        "average precision",
        "mean precision over recall",
    ),
    Measure(
        "brier",
        lambda weighting: weighting.mean_losses_B2[:, 0],
        "logit",
        "Brier score",
        "mean squared error of the probability; lower is better",
    ),
    Measure(
        "log_loss",
        lambda weighting: weighting.mean_losses_B2[:, 1],
        "log",
        "log loss",
        "cross-entropy in nats; lower is better",
    ),
    Measure("ece", _ece, "not negative", "calibration error", "mean distance of probability from frequency, 15 bins"),
    Measure(
        "calibration_slope",
        lambda weighting: weighting.line_B2[:, 1],
        "plain",
        "calibration slope",
        "1 is right; below 1 the network is too sure",
    ),
    Measure(
        "observed_over_expected",
        _observed_over_expected,
        "log",
        "O/E",
        "tumour patches over the sum of probabilities; 1 is right",
        tile=False,
    ),
    Measure(
        "calibration_intercept",
        _calibration_intercept,
        "plain",
        "intercept",
        "what is to be added to every logit for O/E to be 1; 0 is right",
        tile=False,
    ),
)

NAMES = tuple(measure.name for measure in MEASURES)
"""The columns of `table`."""

SCALES = tuple(measure.scale for measure in MEASURES)

TILES = tuple(measure for measure in MEASURES if measure.tile)


def table(scores: Scores, weights_BN: NDArray[Any]) -> Floats:
    """Return float64 [B, measures], columns as `NAMES`; NaN where a weighting leaves a measure undefined.

    Args:
        scores: From `weighted.prepare`.
        weights_BN: Not negative, in the order of the patches as given to `prepare`.
    """
    weighting = Weighting(scores, weights_BN)
    return np.stack([measure.values(weighting) for measure in MEASURES], axis=1)


def with_intervals(
    labels_N: NDArray[Any], logits_N: NDArray[Any], units: Units, seed: int, *, replicates: int | None = None
) -> dict[str, Interval]:
    """Return every measure of scores by name, with its interval.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Finite.
        units: What the patches are a sample of.
        seed: Decides the resamples.
        replicates: Resamples; None takes `intervals.num_replicates`.
    """
    scores = weighted.prepare(labels_N, logits_N)
    estimates = intervals.bootstrap(
        lambda weights_BN: table(scores, weights_BN), units, SCALES, replicates=replicates, seed=seed
    )
    return dict(zip(NAMES, estimates, strict=True))


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
        for measure in MEASURES:
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
    by_name = with_intervals(labels_N, logits_N, units, seed)
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
