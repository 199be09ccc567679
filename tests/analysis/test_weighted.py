"""The logistic line against scikit-learn; observed over expected and the intercept against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from fastpath.analysis import metrics, weighted


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.2, 3), st.floats(-2, 2), st.integers(0, 3))
def test_the_logistic_line_is_scikit_learns(seed: int, slope: float, offset: float, heaviest: int) -> None:
    rng = np.random.default_rng(seed)
    logits_N = rng.normal(0, 2, 300)
    positive_N = (rng.random(300) < metrics.probabilities(slope * logits_N + offset)).astype(float)
    weights_N = 1.0 + rng.integers(0, heaviest + 1, 300)
    fitted = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000, solver="newton-cholesky")
    fitted.fit(logits_N[:, None], positive_N, sample_weight=weights_N)
    line = weighted.logistic_line(positive_N, logits_N, weights_N[None])[0]
    np.testing.assert_allclose(line, [fitted.intercept_[0], fitted.coef_[0, 0]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "logits"),
    [
        ([0, 0, 1, 1], [0.0, 1.0, 2.0, 3.0]),  # apart
        ([0, 0, 1, 1], [0.0, 1.0, 1.0, 3.0]),  # touching
        ([0, 1, 0, 1], [2.0, 2.0, 2.0, 2.0]),  # constant
    ],
)
def test_a_line_that_has_no_maximum_is_undefined(labels: list[int], logits: list[float]) -> None:
    line = weighted.logistic_line(np.array(labels, float), np.array(logits), np.ones((2, 4)))
    assert np.isnan(line).all()


def test_logits_on_a_large_scale_have_a_line_too() -> None:
    rng = np.random.default_rng(0)
    logits_N = rng.normal(500, 300, 400)
    positive_N = (rng.random(400) < metrics.probabilities((logits_N - 500) / 100)).astype(float)
    line = weighted.logistic_line(positive_N, logits_N, np.ones((1, 400)))[0]
    assert line[1] == pytest.approx(0.01, rel=0.3)
    assert -line[0] / line[1] == pytest.approx(500, abs=50)


def _shifted(shift: float, num: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and logits that are the true ones plus a shift."""
    rng = np.random.default_rng(3)
    truth_N = rng.normal(-1, 1.5, num)
    return (rng.random(num) < expit(truth_N)).astype(np.int8), truth_N + shift


@pytest.mark.parametrize("shift", [-6.0, -1.0, 0.0, 1.0, 6.0])
def test_both_measures_are_what_their_definitions_say(shift: float) -> None:
    labels_N, logits_N = _shifted(shift)
    weights_BN = np.random.default_rng(0).poisson(1, (3, len(labels_N))).astype(float)
    ratio_B = weighted.observed_over_expected(labels_N, logits_N, weights_BN)
    intercept_B = weighted.calibration_intercept(labels_N, logits_N, weights_BN)
    for ratio, intercept, weight_N in zip(ratio_B, intercept_B, weights_BN, strict=True):
        assert ratio == pytest.approx(weight_N @ labels_N / (weight_N @ expit(logits_N)))

        def excess(added: float, weight_N: np.ndarray = weight_N) -> float:
            return float(weight_N @ (labels_N - expit(logits_N + added)))

        assert intercept == pytest.approx(brentq(excess, -30, 30), abs=1e-6)


def test_right_probabilities_give_one_and_zero() -> None:
    labels_N, logits_N = _shifted(0.0, num=40_000)
    once_1N = np.ones((1, len(labels_N)))
    assert weighted.observed_over_expected(labels_N, logits_N, once_1N)[0] == pytest.approx(1, abs=0.02)
    assert weighted.calibration_intercept(labels_N, logits_N, once_1N)[0] == pytest.approx(0, abs=0.04)


def test_a_weighting_without_a_class_has_neither() -> None:
    case = np.array([0, 1, 1]), np.array([-1.0, 0.5, 2]), np.array([[1, 1, 1], [0, 1, 1], [2, 0, 0]])
    for measure in (weighted.observed_over_expected, weighted.calibration_intercept):
        np.testing.assert_array_equal(np.isfinite(measure(*case)), [True, False, False])
