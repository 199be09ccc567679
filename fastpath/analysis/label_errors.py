"""Which labels are likely wrong, told from predictions that did not see them. N patches, two classes.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels"):
a prediction counts as confident in a class when it is at least as probable as that class's own patches are on average,
so that a network which is unsure, or leans to one class, is judged by its own standard. Counting confident predictions
against given labels tells how many labels of each class are wrong; that many with the highest loss are suspected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import calibration, metrics, verdicts
from fastpath.analysis.intervals import Interval
from fastpath.analysis.verdicts import Verdict

Floats = NDArray[np.float64]

_DRAWS = 20  # of labels, for `overlap`: their mean and spread are all that is asked for

_SLACK = 1e-6  # a probability this close below its threshold reaches it


@dataclass(frozen=True, slots=True)
class Suspects:
    """Labels that are likely wrong.

    Attributes:
        suspected_N: bool.
        joint_22: Estimated patches by given label (row) and true label (column); rows sum to the labels given.
    """

    suspected_N: NDArray[np.bool_]
    joint_22: Floats

    @property
    def estimated_errors(self) -> float:
        """How many labels are wrong, by the estimate: suspects are those of them that the network contradicts."""
        return float(self.joint_22[0, 1] + self.joint_22[1, 0])


def losses(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> Floats:
    """Return each patch's cross-entropy in nats, from logits: float64 [N]. It falls as the margin of the label rises.

    Args:
        labels_N: 0 or 1.
        logits_N: Finite.
    """
    return metrics.cross_entropies(np.asarray(labels_N) == 1, logits_N)


def find(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> Suspects:
    """Return the labels that are likely wrong.

    Args:
        labels_N: 0 or 1.
        logits_N: Of networks that did not train on these labels; those that did repeat what they were told.

    Raises:
        DataError: A label is neither 0 nor 1, a logit is not finite, or one of the classes is absent.
    """
    metrics.curve(labels_N, logits_N)
    labels_N = np.asarray(labels_N).astype(np.int64)
    probability_N2 = np.stack([metrics.probabilities(-np.asarray(logits_N)), metrics.probabilities(logits_N)], axis=1)
    joint_22 = _joint(labels_N, probability_N2)
    loss_N = losses(labels_N, logits_N)
    contradicted_N = probability_N2[np.arange(len(labels_N)), labels_N] < 0.5
    suspected_N = np.zeros(len(labels_N), bool)
    for given in (0, 1):
        rows = np.flatnonzero(labels_N == given)
        # Ties at the edge are all suspected: nothing tells them apart.
        count = min(round(joint_22[given, 1 - given]), len(rows) - 1)
        if count > 0:
            edge = np.partition(loss_N[rows], len(rows) - count)[len(rows) - count]
            suspected_N[rows] = loss_N[rows] >= edge
    return Suspects(suspected_N & contradicted_N, joint_22)


def overlap(labels_N: NDArray[Any], logits_N: NDArray[Any], seed: int = 0) -> Interval:
    """Return the share of labels that `find` would suspect if every one of them were right.

    Labels are drawn from the probabilities themselves, once calibrated (Platt): a patch that looks like tumour in 70 %
    of cases is normal in 30 %, rightly so. Whatever of such labels is suspected is no error of a label, but of the
    network, for which the classes overlap. Scores alone cannot tell the two apart.

    Args:
        labels_N: 0 or 1, those given.
        logits_N: Finite.
        seed: Decides the draws.

    Returns:
        The mean over draws, and where 95 % of them lie by the normal distribution; in shares of all labels.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    probability_N = metrics.probabilities(calibration.fit("platt", labels_N, logits_N).apply(logits_N))
    drawn = []
    for _ in range(_DRAWS):
        drawn_N = (rng.random(len(probability_N)) < probability_N).astype(np.int8)
        if 0 < drawn_N.sum() < len(drawn_N):  # of a handful of patches all may be drawn alike
            drawn.append(float(find(drawn_N, logits_N).suspected_N.mean()))
    mean, reach = float(np.mean(drawn)), 1.96 * float(np.std(drawn))
    return Interval(mean, max(mean - reach, 0.0), mean + reach)


def in_words(labels_N: NDArray[Any], logits_N: NDArray[Any], num: int, *, out_of_fold: bool) -> list[Verdict]:
    """Return in words what `num` suspected labels come to; nothing where there are none, which leaves out nobody."""
    if not num:
        return []
    auc = metrics.roc_auc(labels_N, logits_N)
    return [verdicts.suspects(num, len(labels_N), auc, overlap(labels_N, logits_N), out_of_fold=out_of_fold)]


def _joint(labels_N: NDArray[np.int64], probability_N2: Floats) -> Floats:
    """Estimate how many patches of each given label belong to each class: the confident counts, scaled to all."""
    threshold_2 = np.array([probability_N2[labels_N == given, given].mean() for given in (0, 1)])
    confident_N2 = probability_N2 >= threshold_2 - _SLACK
    guess_N = np.where(confident_N2.all(axis=1), probability_N2.argmax(axis=1), confident_N2.argmax(axis=1))
    counted_N = confident_N2.any(axis=1)
    joint_22 = np.zeros((2, 2))
    np.add.at(joint_22, (labels_N[counted_N], guess_N[counted_N]), 1.0)
    np.fill_diagonal(joint_22, joint_22.diagonal().clip(min=1.0))
    given_2 = np.bincount(labels_N, minlength=2)
    return np.asarray(joint_22 / joint_22.sum(axis=1, keepdims=True) * given_2[:, None])
