"""What the measures of a report are computed from, for many weightings of the same patches at once.

A resample is a weighting. `measures` has the measures themselves, a row each.

B weightings, N patches, T distinct logits, K bins. A weight of 2 counts a patch twice, a weight of 0 leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics

Floats = NDArray[np.float64]

_STEPS, _LARGEST_STEP, _LARGEST_SLOPE, _CLOSE = 40, 2.0, 30.0, 1e-5
_INTERCEPT_STEPS, _INTERCEPT_CLOSE = 60, 1e-9


@dataclass(frozen=True, slots=True)
class Scores:
    """Labels and logits in falling order of logit, with all that does not depend on weights.

    Attributes:
        given_labels_N: The labels in the order they were given in.
        given_logits_N: The logits likewise.
        order_N: int64, which patch stands at each place.
        positive_N: float64, 1 where labelled 1.
        logits_N: Falling.
        first_of_ties_T: Place of the first patch of each distinct logit.
        losses_N2: Squared error of the probability, and cross-entropy in nats.
        first_of_bins_K: Place of the first patch of each bin of probability that is not empty.
        gaps_N: Probability less label.
        line_2: Intercept and slope of the logistic line through all patches, each counted once.
    """

    given_labels_N: NDArray[Any]
    given_logits_N: Floats
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
    labels_N, logits_N = np.asarray(labels_N), np.asarray(logits_N, np.float64)
    order_N = np.argsort(-logits_N, kind="stable")
    sorted_N = logits_N[order_N]
    positive_N = (labels_N[order_N] == 1).astype(np.float64)
    probability_N = metrics.probabilities(sorted_N)
    loss_N = metrics.cross_entropies(positive_N == 1, sorted_N)
    return Scores(
        given_labels_N=labels_N,
        given_logits_N=logits_N,
        order_N=order_N,
        positive_N=positive_N,
        logits_N=sorted_N,
        first_of_ties_T=_starts(sorted_N),
        losses_N2=np.stack([(probability_N - positive_N) ** 2, loss_N], axis=1),
        first_of_bins_K=_starts(metrics.probability_bins(probability_N)),
        gaps_N=probability_N - positive_N,
        line_2=logistic_line(positive_N, sorted_N, np.ones((1, len(sorted_N))))[0],
    )


class Weighting:
    """Weightings of the patches of `Scores`, with what several measures need, computed once and when asked for.

    Values are NaN or infinite where a weighting leaves them undefined.

    Args:
        scores: From `prepare`.
        weights_BN: Not negative, in the order of the patches as given to `prepare`.
    """

    def __init__(self, scores: Scores, weights_BN: NDArray[Any]) -> None:
        self.scores = scores
        self.given_weights_BN = np.asarray(weights_BN, np.float64)

    @cached_property
    def weights_BN(self) -> Floats:
        """The weights in falling order of logit, as the other fields of `scores`."""
        return self.given_weights_BN[:, self.scores.order_N]

    @cached_property
    def total_B(self) -> Floats:
        """Patches in all, as weighted."""
        total_B: Floats = self.weights_BN.sum(axis=1)
        return total_B

    @cached_property
    def ranking(self) -> tuple[Floats, Floats]:
        """AUC and average precision, which share their counts."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return _ranking(self.scores, self.weights_BN)

    @cached_property
    def mean_losses_B2(self) -> Floats:
        """Mean squared error of the probability, and mean cross-entropy in nats."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.weights_BN @ self.scores.losses_N2) / self.total_B[:, None]

    @cached_property
    def bin_gaps_BK(self) -> Floats:
        """Sum of probability less label, by bin of probability that is not empty."""
        return np.add.reduceat(self.weights_BN * self.scores.gaps_N, self.scores.first_of_bins_K, axis=1)

    @cached_property
    def line_B2(self) -> Floats:
        """Intercept and slope of the logistic line of labels on logits."""
        scores = self.scores
        return logistic_line(scores.positive_N, scores.logits_N, self.weights_BN, scores.line_2)


def auc(scores: Scores, weights_BN: NDArray[Any]) -> Floats:
    """Return the AUC of each weighting alone, float64 [B]; NaN where a weighting leaves a class out."""
    return Weighting(scores, weights_BN).ranking[0]


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


def observed_over_expected(labels_N: NDArray[Any], logits_N: NDArray[Any], weights_BN: NDArray[Any]) -> Floats:
    """Return the number of positives over the sum of probabilities: 1 is right, below 1 probabilities are too high.

    Args:
        labels_N: 0 or 1.
        logits_N: Finite.
        weights_BN: Not negative.

    Returns:
        float64 [B]; NaN where a weighting leaves a class out.
    """
    observed_B, has_both_B = _observed(labels_N, weights_BN)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio_B = observed_B / (weights_BN @ metrics.probabilities(logits_N))
    return np.where(has_both_B, ratio_B, np.nan)


def calibration_intercept(labels_N: NDArray[Any], logits_N: NDArray[Any], weights_BN: NDArray[Any]) -> Floats:
    """Return the intercept of a logistic model with the logit as offset: 0 is right, below 0 logits are too high.

    So with a slope of 1 (Cox 1958; calibration-in-the-large in Steyerberg et al. 2010).

    Args:
        labels_N: 0 or 1.
        logits_N: Finite.
        weights_BN: Not negative.

    Returns:
        float64 [B]; NaN where a weighting leaves a class out.
    """
    logits_N, weights_BN = np.asarray(logits_N, np.float64), np.asarray(weights_BN, np.float64)
    observed_B, has_both_B = _observed(labels_N, weights_BN)
    with np.errstate(invalid="ignore", divide="ignore"):
        intercept_B = _intercept(observed_B, logits_N, weights_BN)
    return np.where(has_both_B, intercept_B, np.nan)


def _observed(labels_N: NDArray[Any], weights_BN: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the weight of positives, and whether a weighting has both classes."""
    observed_B: Floats = weights_BN @ (np.asarray(labels_N) == 1).astype(np.float64)
    return observed_B, (observed_B > 0) & (observed_B < weights_BN.sum(axis=1))


def _intercept(observed_B: Floats, logits_N: Floats, weights_BN: Floats) -> Floats:
    """Return what is to be added to the logits for as many positives to be expected as were observed.

    Newton's steps, bounded. The number expected rises with the intercept, so there is one solution.
    """
    found_B = np.zeros(len(weights_BN))
    for _ in range(_INTERCEPT_STEPS):
        probability_BN = metrics.probabilities(found_B[:, None] + logits_N)
        excess_B = observed_B - (weights_BN * probability_BN).sum(axis=1)
        slope_B = (weights_BN * (probability_BN * (1 - probability_BN))).sum(axis=1)
        step_B = np.clip(excess_B / slope_B, -_LARGEST_STEP, _LARGEST_STEP)
        found_B += step_B
        if np.nanmax(np.abs(step_B), initial=0.0) < _INTERCEPT_CLOSE:
            break
    return np.where(np.abs(step_B) < 1e3 * _INTERCEPT_CLOSE, found_B, np.nan)


def _starts(values_N: NDArray[Any]) -> NDArray[np.int64]:
    """Return where each run of equal values begins."""
    return np.concatenate([[0], np.flatnonzero(np.diff(values_N)) + 1]).astype(np.int64)
