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

_COLDEST, _HOTTEST = 1e-2, 1e2


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A rising map of logits.

    Attributes:
        method: What kind of map.
        slope: Factor of the logit; 1 / temperature.
        intercept: Added after that.
        knots_K: Isotonic: logits, rising; empty otherwise.
        heights_K: Isotonic: the calibrated logits there; between knots the map is a straight line in probability.
        kept: Whether the fitted map lowered the log loss of what it was fitted on; the map is the identity otherwise.
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
    """Fit a map that minimises the log loss of these patches; never raises it.

    Args:
        method: `temperature` divides logits by one number (Guo et al. 2017) and leaves ranking as it is; `platt` also
            adds one (Platt 1999, without smoothed targets); `isotonic` is any rising step function (Zadrozny and Elkan
            2002). `none` is the identity.
        labels_N: 0 or 1, both present.
        logits_N: Finite, not all the same.

    Raises:
        DataError: One class only, or constant or non-finite logits.
    """
    metrics.curve(labels_N, logits_N)
    labels_N, logits_N = np.asarray(labels_N), np.asarray(logits_N, np.float64)
    if np.ptp(logits_N) == 0:
        found = f"found one value for all {len(logits_N)} patches, wanted scores that differ"
        raise DataError("logits", found, "train for longer, or with another learning rate")
    fitted = _FITS[method](labels_N, logits_N)
    worse = metrics.log_loss(labels_N, fitted.apply(logits_N)) > metrics.log_loss(labels_N, logits_N)
    return Calibrator(method, kept=False) if worse else fitted


def _temperature(labels_N: NDArray[Any], logits_N: Floats) -> Calibrator:
    from scipy.optimize import minimize_scalar

    # Convex in the inverse temperature; searched in its logarithm, where one tolerance fits all scales.
    found = minimize_scalar(
        lambda exponent: metrics.log_loss(labels_N, logits_N * math.exp(exponent)),
        bounds=(math.log(1 / _HOTTEST), math.log(1 / _COLDEST)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return Calibrator("temperature", slope=math.exp(float(found.x)))


def _platt(labels_N: NDArray[Any], logits_N: Floats) -> Calibrator:
    positive_N = (labels_N == 1).astype(np.float64)
    intercept, slope = weighted.logistic_line(positive_N, logits_N, np.ones((1, len(logits_N))))[0]
    # Classes that do not overlap have no best line, and a falling one would turn the ranking round.
    if not slope > 0:
        return Calibrator("platt", kept=False)
    return Calibrator("platt", slope=float(slope), intercept=float(intercept))


def _isotonic(labels_N: NDArray[Any], logits_N: Floats) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    found = IsotonicRegression(out_of_bounds="clip").fit(logits_N, (labels_N == 1).astype(np.float64))
    knots_K = np.asarray(found.X_thresholds_, np.float64)
    heights_K = np.asarray(found.y_thresholds_, np.float64)
    # Shares of 0 and 1 would make one patch elsewhere cost infinitely much: half a patch stands against them.
    edge = 0.5 / (len(logits_N) + 1)
    heights_K = metrics.logits(np.clip(heights_K, edge, 1 - edge))
    return Calibrator("isotonic", knots_K=tuple(knots_K.tolist()), heights_K=tuple(heights_K.tolist()))


_FITS = {
    "none": lambda _labels_N, _logits_N: IDENTITY,
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
    if not isinstance(method, str) or method not in _FITS:
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
        return Calibrator(method, knots_K=knots, heights_K=heights, kept=values["kept"])  # type: ignore[arg-type]
    if method == "temperature":
        slope, intercept = 1 / _number(values["temperature"]), 0.0
    else:
        slope, intercept = _number(values["slope"]), _number(values["intercept"])
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope > 0):
        raise ValueError(f"slope {slope} and intercept {intercept}")
    return Calibrator(method, slope=slope, intercept=intercept, kept=values["kept"])  # type: ignore[arg-type]


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
    probability_K, share_K = (np.bincount(bins_N, one, metrics.NUM_BINS)[there] / count_K[there] for one in columns)
    return Reliability(probability_K, share_K, count_K[there])
