"""How much choosing the best gains: against draws, and against the textbook's values."""

from __future__ import annotations

import numpy as np
import pytest

from fastpath.analysis import selection


@pytest.mark.parametrize(("num", "wanted"), [(1, 0.0), (2, 0.56419), (3, 0.84628), (10, 1.53875), (100, 2.50759)])
def test_the_largest_of_normal_numbers_is_as_tabled(num: int, wanted: float) -> None:
    """Harter, Expected values of normal order statistics, Biometrika 48 (1961)."""
    assert selection.expected_maximum(num) == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_what_choosing_gains_is_what_draws_of_correlated_errors_give(correlation: float) -> None:
    rng, num, error = np.random.default_rng(0), 15, 0.02
    shared_R1, own_RK = rng.normal(size=(40_000, 1)), rng.normal(size=(40_000, num))
    errors_RK = error * (np.sqrt(correlation) * shared_R1 + np.sqrt(1 - correlation) * own_RK)
    gained = errors_RK.max(axis=1).mean()
    assert selection.optimism(num, error, correlation) == pytest.approx(gained, abs=5e-4)
