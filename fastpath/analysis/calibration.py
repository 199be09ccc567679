"""Make probabilities mean what they say: three maps from logit to logit, fitted on patches of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics, weighted
from fastpath.errors import DataError

Floats = NDArray[np.float64]
Method = Literal["none", "temperature", "platt", "isotonic"]
METHODS: tuple[Method, ...] = ("temperature", "platt", "isotonic")
DEFAULT: Method = "platt"
"""A map that can shift: balanced sampling trains at a prior of one half, and no temperature can take that back."""

_FLATTEST, _STEEPEST = 1e-4, 1e4  # of the largest logit, calibrated: no smoothed target asks for more


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A rising map of logits.

    Attributes:
        method: What kind of map.
        slope: Factor of the logit; 1 / temperature.
        intercept: Added after that.
        knots_K: Isotonic: logits, rising; empty otherwise.
        heights_K: Isotonic: the calibrated logits there; between knots the map is a straight line in probability.
        kept: Whether the fitted map lowered the loss that it was fitted by; the map is the identity otherwise.
    """

    method: Method
    slope: float = 1.0
    intercept: float = 0.0
    knots_K: tuple[float, ...] = ()
    heights_K: tuple[float, ...] = ()
    kept: bool = True

    def apply(self, logits_N: NDArray[Any]) -> Floats:
        """Return calibrated logits, float64 [N]."""
        logits_N = np.asarray(logits_N, np.float64)
        if not self.knots_K:
            return np.asarray(logits_N * self.slope + self.intercept)
        heights_K = metrics.probabilities(np.array(self.heights_K))
        return metrics.logits(np.interp(logits_N, self.knots_K, heights_K))


IDENTITY = Calibrator("none")


def fit(method: Method, labels_N: NDArray[Any], logits_N: NDArray[Any]) -> Calibrator:
    """Fit a map that minimises the cross-entropy of these patches; never raises it.

    Args:
        method: `temperature` divides logits by one number (Guo et al. 2017) and leaves ranking as it is; `platt` also
            adds one (Platt 1999); both are fitted to `smoothed_targets`. `isotonic` is any rising step function
            (Zadrozny and Elkan 2002), fitted to the labels. `none` is the identity.
        labels_N: 0 or 1, both present.
        logits_N: Finite, not all the same.

    Raises:
        DataError: One class only, or constant or non-finite logits.
    """
    metrics.curve(labels_N, logits_N)
    labels_N, logits_N = np.asarray(labels_N), np.asarray(logits_N, np.float64)
    if np.ptp(logits_N) == 0:
        problem = f"found one value for all {len(logits_N)} patches, wanted scores that differ"
        raise DataError("logits", problem, "train for longer, or with another learning rate")
    if method == "none":
        return IDENTITY
    targets_N = (labels_N == 1).astype(np.float64) if method == "isotonic" else smoothed_targets(labels_N)
    fitted = _FITS[method](targets_N, logits_N)
    worse = _loss(targets_N, fitted.apply(logits_N)) > _loss(targets_N, logits_N)
    return Calibrator(method, kept=False) if worse else fitted


def smoothed_targets(labels_N: NDArray[Any]) -> Floats:
    """Return what lines are fitted to in place of 0 and 1, so that classes that do not overlap have a best line, too.

    n patches of the rarer class get (n + 1) / (n + 2) in place of 1, or 1 / (n + 2) in place of 0: Laplace's rule, by
    Platt (1999). The commoner class is moved by as much in all, so that the targets sum to the number of positives, and
    with them the probabilities of `platt`. Platt's own target of that class would not: 3 positives of 153 would be
    calibrated to 3.4. Keeping the mean is the correction of the intercept of Puhr et al. (2017, "Firth's logistic
    regression with rare events").

    Args:
        labels_N: 0 or 1, both present.

    Returns:
        float64 [N], between 0 and 1.
    """
    positive_N = np.asarray(labels_N) == 1
    num_positive = int(positive_N.sum())
    num_negative = len(positive_N) - num_positive
    rarer = min(num_positive, num_negative)
    moved = rarer / (rarer + 2)  # in patches, from each class
    return np.where(positive_N, 1 - moved / num_positive, moved / num_negative)


def _loss(targets_N: Floats, logits_N: Floats) -> float:
    return float(metrics.cross_entropies(targets_N, logits_N).mean())


def _temperature(targets_N: Floats, logits_N: Floats) -> Calibrator:
    from scipy.optimize import minimize_scalar

    # The slope of the loss where all logits are 0: if it does not fall there, the ranking is no better than chance.
    if not (targets_N - 0.5) @ logits_N > 0:
        return Calibrator("temperature", kept=False)
    # Convex in the inverse temperature; searched in its logarithm, where one tolerance fits all scales.
    scale = math.log(float(np.abs(logits_N).max()))
    result = minimize_scalar(
        lambda exponent: _loss(targets_N, logits_N * math.exp(exponent)),
        bounds=(math.log(_FLATTEST) - scale, math.log(_STEEPEST) - scale),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return Calibrator("temperature", slope=math.exp(float(result.x)))


def _platt(targets_N: Floats, logits_N: Floats) -> Calibrator:
    intercept, slope = weighted.logistic_line(targets_N, logits_N, np.ones((1, len(logits_N))))[0]
    # A falling line would turn the ranking round.
    if not slope > 0:
        return Calibrator("platt", kept=False)
    return Calibrator("platt", slope=float(slope), intercept=float(intercept))


def _isotonic(targets_N: Floats, logits_N: Floats) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    result = IsotonicRegression(out_of_bounds="clip").fit(logits_N, targets_N)
    knots_K = np.asarray(result.X_thresholds_, np.float64)
    heights_K = np.asarray(result.y_thresholds_, np.float64)
    # Shares of 0 and 1 would make one patch elsewhere cost infinitely much: half a patch stands against them.
    edge = 0.5 / (len(logits_N) + 1)
    heights_K = metrics.logits(np.clip(heights_K, edge, 1 - edge))
    return Calibrator("isotonic", knots_K=tuple(knots_K.tolist()), heights_K=tuple(heights_K.tolist()))


_FITS = {
    "temperature": _temperature,
    "platt": _platt,
    "isotonic": _isotonic,
}


def to_dict(calibrator: Calibrator) -> dict[str, Any]:
    """Return plain JSON values."""
    values: dict[str, Any] = {"method": calibrator.method, "kept": calibrator.kept}
    if calibrator.knots_K:
        return values | {"knots": list(calibrator.knots_K), "heights": list(calibrator.heights_K)}
    if calibrator.method == "temperature":
        return values | {"temperature": 1 / calibrator.slope}
    return values | {"slope": calibrator.slope, "intercept": calibrator.intercept}


def from_dict(values: dict[str, Any]) -> Calibrator:
    """Return what `to_dict` described.

    Raises:
        KeyError: A value is missing.
        TypeError: A value is not a number.
        ValueError: A number is out of range, or the method unknown.
    """
    method = values["method"]
    if not isinstance(method, str) or method not in ("none", *METHODS):
        raise ValueError("the method is unknown")
    if not isinstance(values["kept"], bool):
        raise ValueError("'kept' is neither true nor false")
    if "knots" in values:
        knots, heights = (tuple(map(_number, values[key])) for key in ("knots", "heights"))
        if (
            len(knots) != len(heights)
            or not knots
            or list(knots) != sorted(set(knots))
            or list(heights) != sorted(heights)
        ):
            raise ValueError("knots and heights must rise together")
        return Calibrator(method, knots_K=knots, heights_K=heights, kept=values["kept"])
    if method == "temperature":
        slope, intercept = 1 / _number(values["temperature"]), 0.0
    else:
        slope, intercept = _number(values["slope"]), _number(values["intercept"])
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope > 0):
        raise ValueError(f"slope {slope} and intercept {intercept}")
    return Calibrator(method, slope=slope, intercept=intercept, kept=values["kept"])


def _number(value: object) -> float:
    """Return a finite number; NaN is above and below nothing, and so in any order."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"found {str(value)[:40]}, wanted a finite number")
    return float(value)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often patches of about the same probability are positive; K bins that are not empty.

    Attributes:
        probability_K: Mean probability.
        share_K: Share of positives.
        count_K: Patches.
    """

    probability_K: Floats
    share_K: Floats
    count_K: NDArray[np.int64]


def reliability(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> Reliability:
    """Return the points of a reliability diagram, in the bins of `metrics.expected_calibration_error`."""
    probability_N = metrics.probabilities(logits_N)
    bins_N = metrics.probability_bins(probability_N)
    count_K = np.bincount(bins_N, minlength=metrics.NUM_BINS)
    there = count_K > 0
    columns = (probability_N, np.asarray(labels_N) == 1)
    probability_K, share_K = (np.bincount(bins_N, bin_, metrics.NUM_BINS)[there] / count_K[there] for bin_ in columns)
    return Reliability(probability_K, share_K, count_K[there])
