"""Calibration never hurts what it is fitted on, keeps the ranking, and equals independent fits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fastpath.analysis import calibration, metrics
from fastpath.errors import DataError

Case = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def _drawn(seed: int, size: int = 400, slope: float = 0.4, offset: float = -0.5) -> Case:
    rng = np.random.default_rng(seed)
    logits_N = rng.normal(0, 4, size)
    return (rng.random(size) < metrics.probabilities(slope * logits_N + offset)).astype(np.int8), logits_N


@st.composite
def scored(draw: st.DrawFn) -> Case:
    """Both classes and scores that differ; many ties, and classes that may not overlap."""
    size = draw(st.integers(2, 30))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    scores = draw(st.lists(st.integers(-40, 40), min_size=size, max_size=size))
    labels[:2] = [0, 1]
    if len(set(scores)) == 1:
        scores[0] += 1
    return np.array(labels, np.int8), np.array(scores, np.float64) / 4


@pytest.mark.parametrize("method", calibration.METHODS)
@settings(deadline=None, max_examples=60)
@given(case=scored())
def test_log_loss_never_rises_on_what_it_was_fitted_on(method: calibration.Method, case: Case) -> None:
    labels_N, logits_N = case
    fitted = calibration.fit(method, labels_N, logits_N)
    assert metrics.log_loss(labels_N, fitted.apply(logits_N)) <= metrics.log_loss(labels_N, logits_N)


@settings(deadline=None, max_examples=60)
@given(case=scored())
def test_temperature_and_platt_leave_the_auc_as_it_is(case: Case) -> None:
    labels_N, logits_N = case
    for method in ("temperature", "platt"):
        fitted = calibration.fit(method, labels_N, logits_N)  # type: ignore[arg-type]
        assert metrics.roc_auc(labels_N, fitted.apply(logits_N)) == metrics.roc_auc(labels_N, logits_N)


def test_temperature_keeps_apart_float32_logits_that_differ_by_the_last_bit() -> None:
    labels_N, logits_N = _drawn(0)
    fitted = calibration.fit("temperature", labels_N, logits_N)
    near_N = np.nextafter(logits_N.astype(np.float32), np.float32(np.inf))
    assert (fitted.apply(near_N) > fitted.apply(logits_N.astype(np.float32))).all()


@pytest.mark.parametrize("seed", range(5))
def test_temperature_is_the_minimum_that_another_search_finds(seed: int) -> None:
    labels_N, logits_N = _drawn(seed)
    found = minimize(lambda t: metrics.log_loss(labels_N, logits_N / np.exp(t[0])), [0.0], method="Nelder-Mead")
    fitted = calibration.fit("temperature", labels_N, logits_N)
    assert 1 / fitted.slope == pytest.approx(np.exp(found.x[0]), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_scikit_learns_logistic_regression(seed: int) -> None:
    labels_N, logits_N = _drawn(seed)
    theirs = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(logits_N[:, None], labels_N)
    ours = calibration.fit("platt", labels_N, logits_N)
    assert (ours.intercept, ours.slope) == pytest.approx((theirs.intercept_[0], theirs.coef_[0, 0]), rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_is_scikit_learns_but_for_certainty(seed: int) -> None:
    labels_N, logits_N = _drawn(seed)
    fitted = calibration.fit("isotonic", labels_N, logits_N)
    elsewhere_N = np.linspace(-15, 15, 301)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(logits_N, labels_N).predict(elsewhere_N)
    np.testing.assert_allclose(metrics.probabilities(fitted.apply(elsewhere_N)), theirs, atol=0.5 / 401 + 1e-12)
    assert np.isfinite(fitted.apply(elsewhere_N)).all()


@pytest.mark.parametrize("method", ["none", *calibration.METHODS])
def test_a_map_comes_back_from_json(method: calibration.Method) -> None:
    labels_N, logits_N = _drawn(3)
    fitted = calibration.fit(method, labels_N, logits_N)
    again = calibration.from_dict(json.loads(json.dumps(calibration.to_dict(fitted))))
    np.testing.assert_allclose(again.apply(logits_N), fitted.apply(logits_N), rtol=1e-12)
    assert again.method == method


@pytest.mark.parametrize(
    "values",
    [
        {"method": "voodoo", "kept": True},
        {"method": "platt", "slope": -1, "intercept": 0, "kept": True},
        {"method": "isotonic", "knots": [1, 0], "heights": [0, 1], "kept": True},
    ],
)
def test_a_map_that_is_none_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        calibration.from_dict(values)


def test_constant_scores_and_one_class_are_one_line() -> None:
    with pytest.raises(DataError, match="found one value for all 4 patches"):
        calibration.fit("temperature", np.array([0, 1, 0, 1]), np.full(4, 0.3))
    with pytest.raises(DataError, match="wanted both classes"):
        calibration.fit("platt", np.ones(4), np.arange(4.0))


@settings(deadline=None, max_examples=60)
@given(scored())
def test_calibration_error_is_brute_forces_and_reliability_is_scikit_learns(case: Case) -> None:
    labels_N, logits_N = case
    probability_N = metrics.probabilities(logits_N)
    share_K, mean_K = calibration_curve(labels_N, probability_N, n_bins=metrics.NUM_BINS)
    found = calibration.reliability(labels_N, logits_N)
    np.testing.assert_allclose(found.share_K, share_K)
    np.testing.assert_allclose(found.probability_K, mean_K)
    error = float((np.abs(share_K - mean_K) * found.count_K).sum() / len(labels_N))
    assert metrics.expected_calibration_error(labels_N, logits_N) == pytest.approx(error)
    by_hand = 0.0
    for number in range(metrics.NUM_BINS):
        low, high = number / metrics.NUM_BINS, (number + 1) / metrics.NUM_BINS
        inside = [i for i, p in enumerate(probability_N) if low < p <= high or (number == 0 and p == 0)]
        by_hand += abs(sum(probability_N[i] - labels_N[i] for i in inside)) / len(labels_N)
    assert error == pytest.approx(by_hand)
