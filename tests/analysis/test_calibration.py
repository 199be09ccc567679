"""Calibration never hurts what it is fitted on, keeps the ranking, and claims no more than so many patches can."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.calibration import _SigmoidCalibration, calibration_curve
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
def test_the_loss_never_rises_on_what_it_was_fitted_on(method: calibration.Method, case: Case) -> None:
    labels_N, logits_N = case
    fitted = calibration.fit(method, labels_N, logits_N)
    targets_N = labels_N.astype(np.float64) if method == "isotonic" else calibration.smoothed_targets(labels_N)
    losses = [metrics.cross_entropies(targets_N, of_N).mean() for of_N in (logits_N, fitted.apply(logits_N))]
    assert losses[1] <= losses[0]


@settings(deadline=None, max_examples=60)
@given(case=scored())
def test_temperature_and_platt_leave_the_auc_as_it_is(case: Case) -> None:
    labels_N, logits_N = case
    for method in ("temperature", "platt"):
        fitted = calibration.fit(method, labels_N, logits_N)
        assert metrics.roc_auc(labels_N, fitted.apply(logits_N)) == metrics.roc_auc(labels_N, logits_N)


def test_temperature_keeps_apart_float32_logits_that_differ_by_the_last_bit() -> None:
    labels_N, logits_N = _drawn(0)
    fitted = calibration.fit("temperature", labels_N, logits_N)
    near_N = np.nextafter(logits_N.astype(np.float32), np.float32(np.inf))
    assert (fitted.apply(near_N) > fitted.apply(logits_N.astype(np.float32))).all()


@pytest.mark.parametrize("seed", range(5))
def test_temperature_is_the_minimum_that_another_search_finds(seed: int) -> None:
    labels_N, logits_N = _drawn(seed)
    targets_N = calibration.smoothed_targets(labels_N)
    minimum = minimize(
        lambda t: metrics.cross_entropies(targets_N, logits_N / np.exp(t[0])).mean(), [0.0], method="BFGS"
    )
    fitted = calibration.fit("temperature", labels_N, logits_N)
    assert 1 / fitted.slope == pytest.approx(np.exp(minimum.x[0]), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_scikit_learns_logistic_regression_on_the_smoothed_targets(seed: int) -> None:
    """Each patch counts as positive by its target and as negative by what that leaves."""
    labels_N, logits_N = _drawn(seed)
    targets_N = calibration.smoothed_targets(labels_N)
    twice_N, weights_N = np.tile(logits_N, 2)[:, None], np.concatenate([targets_N, 1 - targets_N])
    theirs = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000)
    theirs.fit(twice_N, np.repeat([1, 0], len(logits_N)), sample_weight=weights_N)
    ours = calibration.fit("platt", labels_N, logits_N)
    assert (ours.intercept, ours.slope) == pytest.approx((theirs.intercept_[0], theirs.coef_[0, 0]), rel=1e-4)


def test_platt_is_scikit_learns_sigmoid_where_classes_are_equal() -> None:
    """Its targets are Platt's own, which are ours there."""
    labels_N, logits_N = _drawn(1, offset=0.0)
    members = [np.flatnonzero(labels_N == label)[:150] for label in (0, 1)]
    chosen = np.concatenate(members)
    theirs = _SigmoidCalibration().fit(logits_N[chosen], labels_N[chosen])
    ours = calibration.fit("platt", labels_N[chosen], logits_N[chosen])
    assert (ours.slope, ours.intercept) == pytest.approx((-theirs.a_, -theirs.b_), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("method", ["temperature", "platt"])
@pytest.mark.parametrize("num", [20, 100, 1000])
def test_classes_that_do_not_overlap_are_not_taken_for_certain(num: int, method: calibration.Method) -> None:
    """Laplace's rule says (n + 1) / (n + 2) of a class that was always right: n patches know no more than that."""
    labels_N = np.arange(num) % 2
    logits_N = np.where(labels_N == 1, 1.0, -1.0) * (0.1 + 0.1 * np.random.default_rng(0).random(num))
    fitted = calibration.fit(method, labels_N, logits_N)
    surest = metrics.probabilities(fitted.apply(np.array([-0.2, 0.2])))
    assert fitted.kept
    assert 0.1 / num < surest[0] < 0.05  # 1.0 with a temperature at its bound
    assert 0.1 / num < 1 - surest[1] < 0.05
    assert metrics.probabilities(fitted.apply(logits_N)).mean() == pytest.approx(0.5, abs=0.02)


@settings(deadline=None, max_examples=60)
@given(scored())
def test_smoothing_and_platt_keep_the_number_of_positives(case: Case) -> None:
    labels_N, logits_N = case
    assert calibration.smoothed_targets(labels_N).sum() == pytest.approx(labels_N.sum())
    fitted = calibration.fit("platt", labels_N, logits_N)
    if fitted.kept:
        assert metrics.probabilities(fitted.apply(logits_N)).sum() == pytest.approx(labels_N.sum(), rel=1e-3)


@pytest.mark.parametrize("prevalence", [0.39, 0.1, 0.03])
def test_the_default_takes_back_the_prior_of_balanced_sampling(prevalence: float) -> None:
    """A network trained on equal classes is right but for the prior; a temperature leaves .9, .4 and .2 as O/E."""
    rng = np.random.default_rng(0)
    labels_N = (rng.random(40_000) < prevalence).astype(np.int8)
    logits_N = 5.4 * (labels_N - 0.5) + 2.33 * rng.normal(size=len(labels_N))  # at a prior of one half; AUC .95
    shares = {}
    for method in (calibration.DEFAULT, "temperature"):
        fitted = calibration.fit(method, labels_N[::2], logits_N[::2])
        expected = metrics.probabilities(fitted.apply(logits_N[1::2])).sum()
        shares[method] = labels_N[1::2].sum() / expected
    assert shares[calibration.DEFAULT] == pytest.approx(1.0, abs=0.1)
    assert shares["temperature"] < 0.93


def test_scores_no_better_than_chance_are_left_as_they_are() -> None:
    labels_N, logits_N = _drawn(0)
    for method in ("temperature", "platt"):
        fitted = calibration.fit(method, labels_N, -logits_N)
        assert not fitted.kept
        np.testing.assert_array_equal(fitted.apply(logits_N), logits_N)


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
    curve = calibration.reliability(labels_N, logits_N)
    np.testing.assert_allclose(curve.share_K, share_K)
    np.testing.assert_allclose(curve.probability_K, mean_K)
    error = float((np.abs(share_K - mean_K) * curve.count_K).sum() / len(labels_N))
    assert metrics.expected_calibration_error(labels_N, logits_N) == pytest.approx(error)
    by_hand = 0.0
    for number in range(metrics.NUM_BINS):
        low, high = number / metrics.NUM_BINS, (number + 1) / metrics.NUM_BINS
        inside = [i for i, p in enumerate(probability_N) if low < p <= high or (number == 0 and p == 0)]
        by_hand += abs(sum(probability_N[i] - labels_N[i] for i in inside)) / len(labels_N)
    assert error == pytest.approx(by_hand)
