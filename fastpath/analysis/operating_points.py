"""Thresholds chosen on some patches, and what they do to others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics
from fastpath.analysis.intervals import Interval, Units
from fastpath.analysis.metrics import Confusion, Curve, Floats
from fastpath.analysis.proportions import proportion
from fastpath.errors import UsageError

MISS_COST = 10.0
"""How many false alarms a missed tumour is worth, unless told."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold with its reason.

    Attributes:
        name: Short name.
        meaning: How it was chosen, as a sentence.
        logit: Patches of at least this logit are called positive.
        probability: The same as a probability.
    """

    name: str
    meaning: str
    logit: float
    probability: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a threshold does to a set of patches.

    Attributes:
        confusion: Counts.
        sensitivity: Share of positives called positive.
        specificity: Share of negatives called negative.
        ppv: Share of positives among those called positive; NaN values where nothing is called.
        npv: Share of negatives among those called negative.
    """

    confusion: Confusion
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval


def choose(labels_N: NDArray[Any], logits_N: NDArray[Any], miss_cost: float = MISS_COST) -> list[OperatingPoint]:
    """Choose every operating point on these patches.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Calibrated logits, finite.
        miss_cost: Cost of a missed positive, in false alarms.

    Raises:
        DataError: See `metrics.curve`.
    """
    points = metrics.curve(labels_N, logits_N)
    # A threshold above every score calls nothing positive; it comes first, as the strictest.
    logits_T = np.append(np.inf, points.thresholds_T)
    found_T, alarms_T = np.append(0.0, points.true_positives_T), np.append(0.0, points.false_positives_T)
    sensitivity_T, specificity_T = found_T / points.num_positive, 1 - alarms_T / points.num_negative
    f1_T = 2 * found_T / (found_T + alarms_T + points.num_positive)
    cost_T = alarms_T + miss_cost * (points.num_positive - found_T)

    def at(index: int) -> float:
        return between(logits_T, index)

    chosen = [
        ("probability 0.5", "more likely tumour than not", 0.0),
        ("Youden", "largest sum of sensitivity and specificity", at(int(np.argmax(sensitivity_T + specificity_T)))),
        ("best F1", "largest harmonic mean of precision and sensitivity", at(int(np.argmax(f1_T)))),
        (
            "specificity 95%",
            "most sensitive with a specificity of at least 95%",
            at(int(np.flatnonzero(specificity_T >= 0.95)[-1])),
        ),
    ]
    for target in (0.95, 0.98, 0.99):
        strictest = int(np.flatnonzero(sensitivity_T >= target)[0])
        meaning = f"most specific with a sensitivity of at least {target:.0%}"
        chosen.append((f"sensitivity {target:.0%}", meaning, at(strictest)))
    meaning = f"least cost, a missed tumour costing {miss_cost:g} false alarms"
    chosen.append(("least cost", meaning, at(int(np.argmin(cost_T)))))
    probabilities = metrics.probabilities(np.array([logit for _, _, logit in chosen])).tolist()
    return [OperatingPoint(*point, probability) for point, probability in zip(chosen, probabilities, strict=True)]


def between(logits_T: Floats, index: int) -> float:
    """Return a logit half-way to the next lower score: decisions here are the same, elsewhere neither score leans."""
    if index + 1 == len(logits_T):
        return float(logits_T[index])
    if math.isinf(logits_T[index]):
        return float(logits_T[index + 1] + 1.0)
    middle = (logits_T[index] + logits_T[index + 1]) / 2
    return float(middle if middle > logits_T[index + 1] else logits_T[index])


def apply(labels_N: NDArray[Any], logits_N: NDArray[Any], logit: float, units: Units) -> Outcome:
    """Judge these patches at a threshold that was chosen elsewhere.

    Args:
        labels_N: 0 or 1.
        logits_N: On the scale of the threshold.
        logit: The threshold.
        units: What the patches are a sample of, for the intervals.
    """
    positive_N, called_N = np.asarray(labels_N) == 1, np.asarray(logits_N, np.float64) >= logit
    return Outcome(
        confusion=Confusion(
            true_positive=int((called_N & positive_N).sum()),
            false_positive=int((called_N & ~positive_N).sum()),
            true_negative=int((~called_N & ~positive_N).sum()),
            false_negative=int((~called_N & positive_N).sum()),
        ),
        sensitivity=proportion(called_N, positive_N, units),
        specificity=proportion(~called_N, ~positive_N, units),
        ppv=proportion(positive_N, called_N, units),
        npv=proportion(~positive_N, ~called_N, units),
    )


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Return PPV and NPV where that share of patches is positive (Bayes' rule); NaN where nothing is called so.

    Raises:
        UsageError: The share is not one from 0 to 1.
    """
    check_prevalence(prevalence)
    result, missed = prevalence * sensitivity, prevalence * (1 - sensitivity)
    alarms, passed = (1 - prevalence) * (1 - specificity), (1 - prevalence) * specificity
    return _share(result, alarms), _share(passed, missed)


def check_prevalence(prevalence: float) -> None:
    """Refuse what is no share of patches.

    Raises:
        UsageError: It is not a number from 0 to 1.
    """
    if not 0 <= prevalence <= 1:
        problem = f"found {prevalence:g}, wanted a share from 0 to 1"
        raise UsageError("--prevalence", problem, "give for example 0.02 for 2 %")


def at_prevalence(
    labels_N: NDArray[Any], logits_N: NDArray[Any], logit: float, units: Units, prevalence: float
) -> tuple[Interval, Interval]:
    """Return PPV and NPV of a threshold where that share of patches is positive, each with its interval.

    Their log odds are those of the prevalence and the log of a likelihood ratio (Mercaldo, Lau and Zhou 2007), whose
    error is that of resampling; the prevalence is taken as known. Without ends where a ratio is 0 or infinite.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: On the scale of the threshold.
        logit: The threshold.
        units: What the patches are a sample of.
        prevalence: 0 to 1.
    """
    positive_N, called_N = np.asarray(labels_N) == 1, np.asarray(logits_N, np.float64) >= logit
    columns_N4 = np.stack([positive_N, called_N & positive_N, ~positive_N, called_N & ~positive_N], axis=1)

    def statistic(weights_BN: Floats) -> Floats:
        positive_B, found_B, negative_B, alarms_B = (weights_BN @ columns_N4.astype(np.float64)).T
        with np.errstate(divide="ignore", invalid="ignore"):
            called_B = np.log(found_B / positive_B) - np.log(alarms_B / negative_B)
            passed_B = np.log(1 - found_B / positive_B) - np.log(1 - alarms_B / negative_B)
        return np.stack([called_B, passed_B], axis=1)

    outcome = apply(labels_N, logits_N, logit, units)
    values = predictive_values(outcome.sensitivity.value, outcome.specificity.value, prevalence)
    called, passed = intervals.bootstrap(statistic, units, ["plain", "plain"])
    prior = float(metrics.logits(np.array(prevalence)))
    ppv_ends = metrics.probabilities(np.array([prior + called.low, prior + called.high])).tolist()
    npv_ends = metrics.probabilities(np.array([-prior - passed.high, -prior - passed.low])).tolist()
    return Interval(values[0], *ppv_ends), Interval(values[1], *npv_ends)


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else math.nan


def steps(labels_N: NDArray[Any], logits_N: NDArray[Any], thresholds: list[float]) -> list[tuple[int, int]]:
    """Return true and false positives at each threshold on the logit, for a reader who moves it."""
    points: Curve = metrics.curve(labels_N, logits_N)
    # Thresholds fall, so their negatives rise: the last score that is still at least the threshold.
    at = np.searchsorted(-points.thresholds_T, -np.asarray(thresholds, np.float64), side="right")
    found_T, alarms_T = np.append(0, points.true_positives_T), np.append(0, points.false_positives_T)
    return [(int(found_T[place]), int(alarms_T[place])) for place in at]
