"""The measures of `metrics`, for many weightings of the same patches at once: what resampling needs.

B weightings, N patches, T distinct logits, K bins. A weight of 2 counts a patch twice, a weight of 0 leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.analysis.intervals import Scale

Floats = NDArray[np.float64]

NAMES = ("auc", "average_precision", "brier", "log_loss", "ece", "calibration_slope")
"""What `measure` returns, column by column."""

SCALES: tuple[Scale, ...] = ("logit", "logit", "logit", "log", "not negative", "plain")
"""Where the errors of each are about normal."""

_STEPS, _LARGEST_STEP, _LARGEST_SLOPE, _CLOSE = 40, 2.0, 30.0, 1e-5


@dataclass(frozen=True, slots=True)
class Scores:
    """Labels and logits in falling order of logit, with all that does not depend on weights.

    Attributes:
        order_N: int64, which patch stands at each place.
        positive_N: float64, 1 where labelled 1.
        logits_N: Falling.
        first_of_ties_T: Place of the first patch of each distinct logit.
        losses_N2: Squared error of the probability, and cross-entropy in nats.
        first_of_bins_K: Place of the first patch of each bin of probability that is not empty.
        gaps_N: Probability less label.
        line_2: Intercept and slope of the logistic line through all patches, each counted once.
    """

    order_N: NDArray[np.int64]
    positive_N: Floats
    logits_N: Floats
    first_of_ties_T: NDArray[np.int64]
    losses_N2: Floats
    first_of_bins_K: NDArray[np.int64]
    gaps_N: Floats
    line_2: Floats


def prepare(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> Scores:
    """Sort once what is weighted many times.

    Args:
        labels_N: 0 or 1.
        logits_N: Finite.
    """
    order_N = np.argsort(-np.asarray(logits_N, np.float64), kind="stable")
    sorted_N = np.asarray(logits_N, np.float64)[order_N]
    positive_N = (np.asarray(labels_N)[order_N] == 1).astype(np.float64)
    probability_N = metrics.probabilities(sorted_N)
    loss_N = metrics.cross_entropies(positive_N == 1, sorted_N)
    return Scores(
        order_N=order_N,
        positive_N=positive_N,
        logits_N=sorted_N,
        first_of_ties_T=_starts(sorted_N),
        losses_N2=np.stack([(probability_N - positive_N) ** 2, loss_N], axis=1),
        first_of_bins_K=_starts(metrics.probability_bins(probability_N)),
        gaps_N=probability_N - positive_N,
        line_2=logistic_line(positive_N, sorted_N, np.ones((1, len(sorted_N))))[0],
    )


def measure(scores: Scores, weights_BN: NDArray[Any]) -> Floats:
    """Return float64 [B, 6], columns as `NAMES`; NaN where a weighting leaves a measure undefined.

    Args:
        scores: From `prepare`.
        weights_BN: Not negative, in the order of the patches as given to `prepare`.
    """
    weights_BN = np.asarray(weights_BN, np.float64)[:, scores.order_N]
    total_B = weights_BN.sum(axis=1)
    gaps_BK = np.add.reduceat(weights_BN * scores.gaps_N, scores.first_of_bins_K, axis=1)
    losses_B2 = weights_BN @ scores.losses_N2
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [
            *_ranking(scores, weights_BN),
            losses_B2[:, 0] / total_B,
            losses_B2[:, 1] / total_B,
            np.abs(gaps_BK).sum(axis=1) / total_B,
            logistic_line(scores.positive_N, scores.logits_N, weights_BN, scores.line_2)[:, 1],
        ]
    return np.stack(columns, axis=1)


def auc(scores: Scores, weights_BN: NDArray[Any]) -> Floats:
    """Return the AUC of each weighting alone, float64 [B]; NaN where a weighting leaves a class out."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return _ranking(scores, np.asarray(weights_BN, np.float64)[:, scores.order_N])[0]


def _ranking(scores: Scores, weights_BN: Floats) -> tuple[Floats, Floats]:
    """Return AUC and average precision of each weighting."""
    positives_BT = np.add.reduceat(weights_BN * scores.positive_N, scores.first_of_ties_T, axis=1)
    negatives_BT = np.add.reduceat(weights_BN, scores.first_of_ties_T, axis=1) - positives_BT
    found_BT, fallen_BT = np.cumsum(positives_BT, axis=1), np.cumsum(negatives_BT, axis=1)
    num_positive_B, num_negative_B = found_BT[:, -1], fallen_BT[:, -1]
    pairs_B = (negatives_BT * (found_BT - positives_BT / 2)).sum(axis=1)
    called_BT = found_BT + fallen_BT
    precision_BT = np.divide(found_BT, called_BT, out=np.zeros_like(found_BT), where=called_BT > 0)
    return pairs_B / (num_positive_B * num_negative_B), (positives_BT * precision_BT).sum(axis=1) / num_positive_B


def logistic_line(
    positive_N: Floats, logits_N: Floats, weights_BN: Floats, start_2: NDArray[np.float64] | None = None
) -> Floats:
    """Fit labels ~ sigmoid(intercept + slope × logit) by weighted maximum likelihood, with Newton's steps.

    Args:
        positive_N: 0 or 1.
        logits_N: Finite.
        weights_BN: Not negative.
        start_2: Intercept and slope to start from.

    Returns:
        float64 [B, 2], intercept and slope; NaN where there is no maximum: the classes do not overlap, or the logits
        do not differ.
    """
    spread, middle = float(logits_N.std()), float(logits_N.mean())
    if spread == 0.0:
        return np.full((len(weights_BN), 2), np.nan)
    scaled_N = (logits_N - middle) / spread  # so that one bound on steps and slopes fits all scales
    line_B2 = np.zeros((len(weights_BN), 2))
    if start_2 is not None and np.isfinite(start_2).all():
        line_B2 += (start_2[0] + start_2[1] * middle, start_2[1] * spread)
    curves_N2 = np.stack([scaled_N, scaled_N**2], axis=1)
    moved_B = np.full(len(weights_BN), np.inf)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(_STEPS):
            fitted_BN = metrics.probabilities(line_B2[:, :1] + line_B2[:, 1:] * scaled_N)
            left_BN = weights_BN * (positive_N - fitted_BN)
            gradient_B2 = np.stack([left_BN.sum(axis=1), left_BN @ scaled_N], axis=1)
            bent_BN = weights_BN * (fitted_BN * (1.0 - fitted_BN))
            a_B, (b_B, c_B) = bent_BN.sum(axis=1), (bent_BN @ curves_N2).T
            determinant_B = a_B * c_B - b_B**2
            step_B2 = np.stack(
                [
                    (c_B * gradient_B2[:, 0] - b_B * gradient_B2[:, 1]) / determinant_B,
                    (a_B * gradient_B2[:, 1] - b_B * gradient_B2[:, 0]) / determinant_B,
                ],
                axis=1,
            )
            line_B2 += np.clip(step_B2, -_LARGEST_STEP, _LARGEST_STEP)
            moved_B = np.abs(step_B2).max(axis=1)
            if np.nanmax(moved_B, initial=0.0) < _CLOSE:
                break
        undefined_B = ~(moved_B < 10 * _CLOSE) | ~(np.abs(line_B2[:, 1]) < _LARGEST_SLOPE)
        slope_B = line_B2[:, 1] / spread
        result_B2 = np.stack([line_B2[:, 0] - slope_B * middle, slope_B], axis=1)
    result_B2[undefined_B] = np.nan
    return result_B2


def _starts(values_N: NDArray[Any]) -> NDArray[np.int64]:
    """Return where each run of equal values begins."""
    return np.concatenate([[0], np.flatnonzero(np.diff(values_N)) + 1]).astype(np.int64)
