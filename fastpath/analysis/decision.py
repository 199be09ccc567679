"""What acting on a prediction is worth, and how far it can be trusted. T thresholds, N patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics
from fastpath.analysis.intervals import Interval, Units
from fastpath.analysis.metrics import Floats

STEPS_WITH_INTERVALS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Probabilities at which net benefit is told with its interval."""


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit: true positives less false positives at the threshold's odds, a patch (Vickers and Elkin 2006).

    Attributes:
        thresholds_T: Probabilities at which one would act, 0 to 1.
        model_T: Acting on the model.
        all_T: Acting on every patch; acting on none is 0.
    """

    thresholds_T: Floats
    model_T: Floats
    all_T: Floats


def decision_curve(labels_N: NDArray[Any], logits_N: NDArray[Any], thresholds_T: Floats | None = None) -> DecisionCurve:
    """Return net benefits at each threshold.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Calibrated, finite.
        thresholds_T: Above 0 and below 1; None takes 0.01 to 0.99.
    """
    thresholds_T = np.arange(1, 100) / 100 if thresholds_T is None else thresholds_T
    points, odds_T = metrics.curve(labels_N, logits_N), thresholds_T / (1 - thresholds_T)
    at = np.searchsorted(-points.thresholds_T, -metrics.logits(thresholds_T), side="right")
    found_T = np.append(0.0, points.true_positives_T)[at]
    alarms_T = np.append(0.0, points.false_positives_T)[at]
    total = points.num_positive + points.num_negative
    return DecisionCurve(
        thresholds_T=thresholds_T,
        model_T=(found_T - odds_T * alarms_T) / total,
        all_T=(points.num_positive - odds_T * points.num_negative) / total,
    )


@dataclass(frozen=True, slots=True)
class NetBenefit:
    """What acting on the model is worth at one threshold.

    Attributes:
        threshold: Probability at which one would act.
        model: Net benefit of acting on the model.
        all: Of acting on every patch.
        gain: Of the model, less the better of acting on all and on none.
    """

    threshold: float
    model: Interval
    all: float
    gain: Interval


def net_benefits(
    labels_N: NDArray[Any], logits_N: NDArray[Any], units: Units, thresholds: Sequence[float] = STEPS_WITH_INTERVALS
) -> list[NetBenefit]:
    """Return net benefits with their intervals.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Calibrated, finite.
        units: What the patches are a sample of.
        thresholds: Above 0 and below 1.
    """
    curve = decision_curve(labels_N, logits_N, np.array(thresholds))
    positive_N, odds_T = np.asarray(labels_N) == 1, curve.thresholds_T / (1 - curve.thresholds_T)
    worth_NT = np.where(positive_N[:, None], 1.0, -odds_T)  # of acting on a patch
    acted_NT = worth_NT * (np.asarray(logits_N)[:, None] >= metrics.logits(curve.thresholds_T))
    gained_NT = acted_NT - np.where(curve.all_T > 0, worth_NT, 0.0)
    columns_NC = np.concatenate([acted_NT, gained_NT], axis=1)
    estimates = intervals.bootstrap(
        lambda weights_BN: weights_BN @ columns_NC / weights_BN.sum(axis=1, keepdims=True),
        units,
        ["plain"] * columns_NC.shape[1],
    )
    models, gains = estimates[: len(odds_T)], estimates[len(odds_T) :]
    rows = zip(thresholds, models, curve.all_T.tolist(), gains, strict=True)
    return [NetBenefit(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Errors among the patches that are decided when the least certain are left to a human.

    Attributes:
        coverage_T: Share of patches decided, rising; patches of equal uncertainty come in together.
        risk_T: Share of errors among them.
        area: Mean risk over coverage, each patch counting once; lower is better.
    """

    coverage_T: Floats
    risk_T: Floats
    area: float


def risk_coverage(wrong_N: NDArray[Any], uncertainty_N: NDArray[Any]) -> RiskCoverage:
    """Return the risk–coverage curve (Geifman and El-Yaniv 2017).

    Args:
        wrong_N: Whether each patch is decided wrongly.
        uncertainty_N: Higher is left out first.
    """
    order_N = np.argsort(np.asarray(uncertainty_N), kind="stable")
    uncertainty_N, wrong_N = np.asarray(uncertainty_N)[order_N], np.asarray(wrong_N, np.float64)[order_N]
    last_T = np.append(np.flatnonzero(np.diff(uncertainty_N)), len(order_N) - 1)
    risk_T = np.cumsum(wrong_N)[last_T] / (last_T + 1)
    sizes_T = np.diff(last_T, prepend=-1)
    return RiskCoverage((last_T + 1) / len(order_N), risk_T, float((risk_T * sizes_T).sum() / len(order_N)))
