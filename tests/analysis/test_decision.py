"""Net benefit and risk against their definitions, patch by patch; and several opinions made one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from fastpath.analysis import combine, decision, intervals, metrics
from fastpath.errors import UsageError


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5000), st.integers(4, 60))
def test_net_benefit_is_its_definition(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    labels_N, logits_N = rng.integers(0, 2, size), rng.integers(-6, 7, size) / 2
    labels_N[:2] = 0, 1
    curve = decision.decision_curve(labels_N, logits_N)
    probability_N = metrics.probabilities(logits_N)
    for at in (0, 9, 37, 61, 98):
        threshold = curve.thresholds_T[at]
        called_N = probability_N > threshold - 1e-12
        odds = threshold / (1 - threshold)
        gain = ((called_N & (labels_N == 1)).sum() - odds * (called_N & (labels_N == 0)).sum()) / size
        assert curve.model_T[at] == pytest.approx(gain)
        assert curve.all_T[at] == pytest.approx(labels_N.mean() - odds * (1 - labels_N.mean()))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5000), st.integers(1, 40))
def test_risk_is_the_share_of_errors_among_the_most_certain(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    wrong_N, uncertainty_N = rng.random(size) < 0.3, rng.integers(0, 8, size)
    curve = decision.risk_coverage(wrong_N, uncertainty_N)
    by_hand = [
        (float((uncertainty_N <= level).mean()), float(wrong_N[uncertainty_N <= level].mean()))
        for level in np.unique(uncertainty_N)
    ]
    np.testing.assert_allclose(np.stack([curve.coverage_T, curve.risk_T], axis=1), by_hand)
    assert curve.coverage_T[-1] == 1
    assert curve.risk_T[-1] == pytest.approx(wrong_N.mean())
    assert curve.area == pytest.approx(
        float(np.mean([wrong_N[uncertainty_N <= level].mean() for level in uncertainty_N]))
    )


def _opinions(seed: int = 0, num: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 3, (50, num)).astype(np.float32)


def test_each_mean_is_its_definition() -> None:
    logits_NK, weights = _opinions(), [1.0, 2.0, 5.0]
    share_K = np.array(weights) / 8
    np.testing.assert_allclose(combine.combine(logits_NK, "logits", weights), logits_NK.astype(float) @ share_K)
    mean_N = metrics.probabilities(combine.combine(logits_NK, "probabilities", weights))
    np.testing.assert_allclose(mean_N, metrics.probabilities(logits_NK) @ share_K)
    ranks_N = metrics.probabilities(combine.combine(logits_NK, "ranks"))
    np.testing.assert_allclose(
        ranks_N, np.mean([(rankdata(column) - 0.5) / 50 for column in logits_NK.T], axis=0), rtol=1e-12
    )


@pytest.mark.parametrize("mean", ["logits", "probabilities", "ranks"])
def test_opinions_that_agree_rank_as_each_does(mean: combine.Mean) -> None:
    logits_N1 = _opinions(num=1)
    combined_N = combine.combine(np.repeat(logits_N1, 4, axis=1), mean)
    np.testing.assert_array_equal(rankdata(combined_N), rankdata(logits_N1[:, 0]))


def test_one_opinion_is_itself_to_the_last_bit() -> None:
    logits_N1 = _opinions(num=1) * 100
    for mean in ("logits", "probabilities"):
        np.testing.assert_array_equal(combine.combine(logits_N1, mean), logits_N1[:, 0])  # type: ignore[arg-type]


def test_spread_is_nothing_where_all_agree_and_a_half_at_most() -> None:
    np.testing.assert_allclose(combine.spread(np.full((3, 8), 1.3)), 0, atol=1e-12)
    assert combine.spread(np.array([[-99.0, 99.0]]))[0] == pytest.approx(0.5)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [np.nan, 1.0, 1.0]])
def test_weights_that_do_not_fit_are_one_line(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="wanted 3 numbers"):
        combine.combine(_opinions(), "logits", weights)


def test_net_benefits_have_intervals_by_slide_and_gains_over_the_better_default() -> None:
    rng = np.random.default_rng(5)
    of_N = np.repeat(np.arange(20), 30)
    labels_N = (rng.random(600) < 0.3).astype(int)
    logits_N = 2.5 * labels_N - 1.5 + rng.normal(size=600) + rng.normal(size=20)[of_N]
    curve = decision.decision_curve(labels_N, logits_N, np.array(decision.STEPS_WITH_INTERVALS))
    by_slide = decision.net_benefits(labels_N, logits_N, intervals.units_of(of_N, 600, labels_N))
    by_patch = decision.net_benefits(labels_N, logits_N, intervals.units_of(None, 600))
    for at, (of_slides, other) in enumerate(zip(by_slide, by_patch, strict=True)):
        assert of_slides.model.value == pytest.approx(curve.model_T[at])
        assert of_slides.gain.value == pytest.approx(curve.model_T[at] - max(curve.all_T[at], 0))
        assert of_slides.model.low < of_slides.model.value < of_slides.model.high
        assert of_slides.model.high - of_slides.model.low > other.model.high - other.model.low
