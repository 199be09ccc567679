"""Settings compared over seeds: against scipy's paired t-test, and against chance."""

import math

import numpy as np
import pytest
from scipy import stats

from fastpath.analysis import seed_comparison


def test_two_settings_are_the_paired_t_test() -> None:
    values_SR = np.random.default_rng(0).normal(size=(2, 6))
    (contrast,) = seed_comparison.contrasts(values_SR)
    assert contrast.p_value == pytest.approx(stats.ttest_rel(values_SR[0], values_SR[1]).pvalue)
    assert contrast.p_corrected == contrast.p_value
    assert contrast.difference == pytest.approx(abs(values_SR[0].mean() - values_SR[1].mean()))


def test_the_noise_is_that_of_an_analysis_of_variance() -> None:
    """Three settings, three seeds: the sums of squares taken apart by hand."""
    values_SR = np.array([[0.90, 0.92, 0.91], [0.88, 0.93, 0.90], [0.80, 0.82, 0.80]])
    grand = values_SR.mean()
    total = ((values_SR - grand) ** 2).sum()
    between = 3 * ((values_SR.mean(1) - grand) ** 2).sum() + 3 * ((values_SR.mean(0) - grand) ** 2).sum()
    error = math.sqrt(2 * (total - between) / 4 / 3)
    contrasts = seed_comparison.contrasts(values_SR)
    assert [(contrast.first, contrast.second) for contrast in contrasts] == [(0, 2), (1, 2), (0, 1)]
    assert all(contrast.standard_error == pytest.approx(error) for contrast in contrasts)
    assert [contrast.better for contrast in contrasts] == [True, True, False]


def test_what_all_settings_share_is_no_noise() -> None:
    values_SR = np.random.default_rng(1).normal(size=(4, 5))
    shifted_SR = values_SR + np.random.default_rng(2).normal(size=5) * 100
    for before, after in zip(seed_comparison.contrasts(values_SR), seed_comparison.contrasts(shifted_SR), strict=True):
        assert before.p_value == pytest.approx(after.p_value)


def test_one_seed_or_one_setting_says_nothing() -> None:
    (contrast,) = seed_comparison.contrasts(np.array([[0.9], [0.8]]))
    assert math.isnan(contrast.p_value)
    assert not contrast.better
    assert seed_comparison.contrasts(np.array([[0.9, 0.8]])) == []
    (equal,) = seed_comparison.contrasts(np.array([[0.9, 0.8], [0.9, 0.8]]))
    assert (equal.difference, equal.p_value, equal.better) == (0.0, 1.0, False)


def test_any_false_verdict_is_one_sweep_in_twenty_at_most() -> None:
    rng = np.random.default_rng(3)
    trials = 1000
    false = sum(
        any(contrast.better for contrast in seed_comparison.contrasts(rng.normal(size=(4, 3)) + rng.normal(size=3)))
        for _ in range(trials)
    )
    assert false / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_hanley_and_mcneils_error() -> None:
    # Their formula at area 0.5 is that of the Wilcoxon statistic under the null: sqrt((m + n + 1) / (12 m n)).
    assert seed_comparison.auc_error(0.5, 40, 60) == pytest.approx(math.sqrt(101 / (12 * 40 * 60)))
    assert seed_comparison.auc_error(1.0, 40, 60) == 0.0
    assert seed_comparison.auc_error(0.8907, 80, 120) == pytest.approx(0.025, abs=0.001)  # of 200 patches
