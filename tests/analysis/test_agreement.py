"""Observed over expected and the intercept, against their definitions solved by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from fastpath.analysis import agreement


def _patches(shift: float, num: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and logits that are the true ones plus a shift."""
    rng = np.random.default_rng(3)
    truth_N = rng.normal(-1, 1.5, num)
    return (rng.random(num) < expit(truth_N)).astype(np.int8), truth_N + shift


@pytest.mark.parametrize("shift", [-6.0, -1.0, 0.0, 1.0, 6.0])
def test_both_measures_are_what_their_definitions_say(shift: float) -> None:
    labels_N, logits_N = _patches(shift)
    weights_BN = np.random.default_rng(0).poisson(1, (3, len(labels_N))).astype(float)
    for (ratio, intercept), weight_N in zip(agreement.measure(labels_N, logits_N, weights_BN), weights_BN, strict=True):
        assert ratio == pytest.approx(weight_N @ labels_N / (weight_N @ expit(logits_N)))

        def excess(added: float, weight_N: np.ndarray = weight_N) -> float:
            return float(weight_N @ (labels_N - expit(logits_N + added)))

        assert intercept == pytest.approx(brentq(excess, -30, 30), abs=1e-6)


def test_right_probabilities_give_one_and_zero() -> None:
    labels_N, logits_N = _patches(0.0, num=40_000)
    ratio, intercept = agreement.measure(labels_N, logits_N, np.ones((1, len(labels_N))))[0]
    assert ratio == pytest.approx(1, abs=0.02)
    assert intercept == pytest.approx(0, abs=0.04)


def test_a_weighting_without_a_class_has_neither() -> None:
    found_B2 = agreement.measure(
        np.array([0, 1, 1]), np.array([-1.0, 0.5, 2]), np.array([[1, 1, 1], [0, 1, 1], [2, 0, 0]])
    )
    assert np.isfinite(found_B2[0]).all()
    assert np.isnan(found_B2[1:]).all()
