"""Weighted measures against the plain ones on repeated patches, and the logistic line against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from fastpath.analysis import metrics, weighted

PLAIN = {
    "auc": metrics.roc_auc,
    "average_precision": metrics.average_precision,
    "brier": metrics.brier,
    "log_loss": metrics.log_loss,
    "ece": metrics.expected_calibration_error,
}


@st.composite
def drawn(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels, logits with ties, and how often each patch counts; both classes count at least once."""
    size = draw(st.integers(4, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    logits = draw(st.lists(st.integers(-6, 6), min_size=size, max_size=size))
    weights = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    labels[:2], weights[:2] = [0, 1], [max(weights[0], 1), max(weights[1], 1)]
    return np.array(labels, np.int8), np.array(logits) / 2, np.array(weights)


@settings(deadline=None, max_examples=60)
@given(drawn())
def test_a_weight_is_how_often_a_patch_counts(
    case: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    labels_N, logits_N, weights_N = case
    found = weighted.measure(weighted.prepare(labels_N, logits_N), np.stack([weights_N, np.ones_like(weights_N)]))
    for row, counts_N in enumerate((weights_N, np.ones_like(weights_N))):
        repeated = np.repeat(labels_N, counts_N), np.repeat(logits_N, counts_N)
        for name, plain in PLAIN.items():
            assert found[row, weighted.NAMES.index(name)] == pytest.approx(plain(*repeated), abs=1e-12), name


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


def test_a_weighting_without_one_class_is_undefined_and_disturbs_no_other() -> None:
    labels_N, logits_N = np.array([0, 1, 0, 1, 1, 0]), np.array([0.0, 1.0, 2.0, 0.5, 3.0, -1.0])
    scores = weighted.prepare(labels_N, logits_N)
    both = weighted.measure(scores, np.stack([labels_N, np.ones(6)]))
    assert np.isnan(both[0, 0])
    np.testing.assert_allclose(both[1], weighted.measure(scores, np.ones((1, 6)))[0], rtol=1e-9)


def test_the_auc_alone_is_the_one_among_all_measures() -> None:
    rng = np.random.default_rng(4)
    scores = weighted.prepare(rng.integers(0, 2, 50), rng.normal(size=50).round(1))
    weights_BN = rng.integers(0, 3, (9, 50))
    np.testing.assert_array_equal(weighted.auc(scores, weights_BN), weighted.measure(scores, weights_BN)[:, 0])
