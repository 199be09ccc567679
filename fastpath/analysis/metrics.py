"""How good scores are: pure functions of labels and logits. N patches, T distinct thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import DataError

Floats = NDArray[np.float64]

NUM_BINS = 15
"""Bins of probability in which calibration is judged."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of decisions at a threshold."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


@dataclass(frozen=True, slots=True)
class Curve:
    """What every threshold on the logit would give, from the strictest to the laxest.

    Attributes:
        thresholds_T: A patch is called positive when its logit is at least this; distinct, falling.
        true_positives_T: Positives called positive.
        false_positives_T: Negatives called positive.
        num_positive: Positives in all.
        num_negative: Negatives in all.
    """

    thresholds_T: Floats
    true_positives_T: Floats
    false_positives_T: Floats
    num_positive: int
    num_negative: int


def probabilities(logits_N: NDArray[Any]) -> Floats:
    """Return the logistic function of logits, without overflow at either end."""
    logits_N = np.asarray(logits_N, np.float64)
    small_N = np.exp(-np.abs(logits_N))
    result: Floats = np.where(logits_N >= 0, 1.0, small_N) / (1.0 + small_N)
    return result


def logits(probability_N: NDArray[Any]) -> Floats:
    """Return the inverse of `probabilities`: log odds, infinite at 0 and 1."""
    probability_N = np.asarray(probability_N, np.float64)
    with np.errstate(divide="ignore"):
        result: Floats = np.log(probability_N) - np.log1p(-probability_N)
    return result


def curve(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> Curve:
    """Count true and false positives at every distinct logit.

    Args:
        labels_N: 0 or 1.
        logits_N: Any monotone score, finite; higher means more likely positive.

    Raises:
        DataError: A label is neither 0 nor 1, a logit is not finite, or one of the classes is absent.
    """
    positive_N, logits_N = _checked(labels_N, logits_N)
    num_positive = int(positive_N.sum())
    num_negative = len(positive_N) - num_positive
    if not num_positive or not num_negative:
        problem = f"found {num_positive} tumour and {num_negative} normal patches, wanted both classes"
        raise DataError("labels", problem, "evaluate on a split that holds both")
    order_N = np.argsort(-logits_N, kind="stable")
    scores_N = logits_N[order_N]
    last_of_ties_T = np.append(np.flatnonzero(np.diff(scores_N)), len(scores_N) - 1)
    true_positives_T = np.cumsum(positive_N[order_N], dtype=np.float64)[last_of_ties_T]
    return Curve(
        thresholds_T=scores_N[last_of_ties_T],
        true_positives_T=true_positives_T,
        false_positives_T=last_of_ties_T + 1.0 - true_positives_T,
        num_positive=num_positive,
        num_negative=num_negative,
    )


def roc_auc(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return the chance that a positive scores above a negative, ties counting half (Mann and Whitney).

    Raises:
        DataError: See `curve`.
    """
    points = curve(labels_N, logits_N)
    # In counts until the last division, so that the result is exact for fewer than 2**52 pairs.
    steps_T = np.diff(points.false_positives_T, prepend=0.0)
    twice_heights_T = points.true_positives_T + np.concatenate([[0.0], points.true_positives_T[:-1]])
    return float((steps_T * twice_heights_T).sum() / (2.0 * points.num_positive * points.num_negative))


def roc_auc_or_nan(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return `roc_auc`, or NaN where a class is absent or a logit is not finite: what stops no training.

    Args:
        labels_N: 0 or 1.
        logits_N: Any monotone score.
    """
    if len(np.unique(labels_N)) < 2 or not np.isfinite(logits_N).all():
        return math.nan
    return roc_auc(labels_N, logits_N)


def average_precision(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return the mean precision over recall, each threshold weighted by the recall it adds (scikit-learn's AP).

    Raises:
        DataError: See `curve`.
    """
    points = curve(labels_N, logits_N)
    precision_T = points.true_positives_T / (points.true_positives_T + points.false_positives_T)
    gained_T = np.diff(points.true_positives_T, prepend=0.0)
    return float((gained_T * precision_T).sum() / points.num_positive)


def confusion(labels_N: NDArray[Any], logits_N: NDArray[Any], threshold: float = 0.5) -> Confusion:
    """Count decisions when probabilities of at least `threshold` are called positive.

    Raises:
        DataError: A label is neither 0 nor 1, a logit is not finite, or there are none.
    """
    positive_N, logits_N = _checked(labels_N, logits_N)
    called_N = probabilities(logits_N) >= threshold
    return Confusion(
        true_positive=int((called_N & positive_N).sum()),
        false_positive=int((called_N & ~positive_N).sum()),
        true_negative=int((~called_N & ~positive_N).sum()),
        false_negative=int((~called_N & positive_N).sum()),
    )


def accuracy(labels_N: NDArray[Any], logits_N: NDArray[Any], threshold: float = 0.5) -> float:
    """Return the share of patches called right at `threshold`.

    Raises:
        DataError: See `confusion`.
    """
    counts = confusion(labels_N, logits_N, threshold)
    return (counts.true_positive + counts.true_negative) / len(np.asarray(labels_N))


def log_loss(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return the mean binary cross-entropy in nats, from logits: exact where a probability would round to 0 or 1.

    Raises:
        DataError: See `confusion`.
    """
    positive_N, logits_N = _checked(labels_N, logits_N)
    return float(cross_entropies(positive_N, logits_N).mean())


def cross_entropies(targets_N: NDArray[Any], logits_N: NDArray[Any]) -> Floats:
    """Return each patch's cross-entropy in nats: t log(1 + exp(-z)) + (1 - t) log(1 + exp(z)).

    Not log(1 + exp(z)) - t z, which loses the digits of small losses.

    Args:
        targets_N: t, the label or a smoothed one, 0 to 1.
        logits_N: z, finite.

    Returns:
        float64 [N].
    """
    targets_N, logits_N = np.asarray(targets_N, np.float64), np.asarray(logits_N, np.float64)
    losses_N: Floats = targets_N * np.logaddexp(0.0, -logits_N) + (1 - targets_N) * np.logaddexp(0.0, logits_N)
    return losses_N


def mean_cross_entropy(targets_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return the mean of `cross_entropies`; NaN of no patches, which stops no training."""
    return float(cross_entropies(targets_N, logits_N).mean()) if len(targets_N) else math.nan


def brier(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return the mean squared difference between probability and label, 0 to 1.

    Raises:
        DataError: See `confusion`.
    """
    positive_N, logits_N = _checked(labels_N, logits_N)
    return float(((probabilities(logits_N) - positive_N) ** 2).mean())


def probability_bins(probability_N: Floats) -> NDArray[np.int64]:
    """Return which of `NUM_BINS` bins of equal width each probability is in; on an edge, the lower one."""
    return np.searchsorted(np.linspace(0, 1, NUM_BINS + 1)[1:-1], probability_N)


def expected_calibration_error(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> float:
    """Return the mean distance between probability and share of positives, over bins weighted by their patches.

    Of the probability of the positive class, in `NUM_BINS` bins of equal width (Naeini et al. 2015).

    Raises:
        DataError: See `confusion`.
    """
    positive_N, logits_N = _checked(labels_N, logits_N)
    probability_N = probabilities(logits_N)
    gaps_K = np.bincount(probability_bins(probability_N), probability_N - positive_N, NUM_BINS)
    return float(np.abs(gaps_K).sum() / len(probability_N))


def _checked(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> tuple[NDArray[np.bool_], Floats]:
    labels_N, logits_N = np.asarray(labels_N), np.asarray(logits_N, np.float64)
    assert labels_N.shape == logits_N.shape, f"{labels_N.shape} labels, {logits_N.shape} logits"
    if not len(labels_N):
        raise DataError("labels", "found no patches, wanted at least one", "evaluate on a split that is not empty")
    unknown_N = ~np.isin(labels_N, (0, 1))
    if unknown_N.any():
        problem = f"found {int(unknown_N.sum())} of {len(labels_N)} unknown, wanted 0 or 1"
        raise DataError("labels", problem, "evaluate on labelled patches, or use 'fastpath predict'")
    broken = int((~np.isfinite(logits_N)).sum())
    if broken:
        problem = f"found {broken} of {len(logits_N)} not finite"
        raise DataError("logits", problem, "the weights are not usable; train again with a lower learning rate")
    return labels_N == 1, logits_N
