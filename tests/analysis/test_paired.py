"""Paired differences: how often its interval holds the truth, and many comparisons at once."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath.analysis import delong, intervals, paired, weighted
from fastpath.analysis.intervals import Units, units_of
from fastpath.analysis.metrics import roc_auc


def two_scores(
    rng: np.random.Generator, labels_N: np.ndarray, groups_N: np.ndarray, slide_noise: float
) -> list[np.ndarray]:
    """Two scores of equal quality on average, each with an error of its own that a slide's patches share."""
    scores = []
    shared_N = labels_N + rng.normal(size=len(labels_N))
    for _ in range(2):
        slide_G = rng.normal(size=groups_N.max() + 1) * slide_noise
        scores.append(shared_N + rng.normal(size=len(labels_N)) + slide_G[groups_N] * (labels_N - 0.5))
    return scores


def test_difference_is_that_of_the_aucs_and_the_error_delongs() -> None:
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, 2, 300)
    a_N = np.round(labels_N + rng.normal(size=300), 1)  # with ties
    b_N = np.round(a_N + rng.normal(size=300), 1)
    units = units_of(None, 300)
    difference, exact = (
        paired.difference(labels_N, a_N, b_N, units, replicates=2000),
        delong.paired_test(labels_N, a_N, b_N),
    )
    assert difference.difference == pytest.approx(roc_auc(labels_N, a_N) - roc_auc(labels_N, b_N))
    assert (difference.high - difference.low) / 2 / 1.96 == pytest.approx(exact.standard_error, rel=0.1)
    assert difference.p_value == pytest.approx(exact.p_value, abs=0.02)
    assert not difference.clustered
    assert difference == paired.difference(labels_N, a_N, b_N, units, replicates=2000)  # a seed decides


@pytest.mark.parametrize("num_groups", [8, 30])
def test_slides_drawn_whole_cover_the_truth_where_patches_do_not(num_groups: int) -> None:
    rng = np.random.default_rng(3)
    groups_N = np.repeat(np.arange(num_groups), 20)
    held = {"slides": 0, "patches": 0}
    trials = 150
    for trial in range(trials):
        labels_N = (rng.random(len(groups_N)) < 0.5).astype(int)
        a_N, b_N = two_scores(rng, labels_N, groups_N, slide_noise=1.5)
        for name, units in (("slides", units_of(groups_N, len(groups_N))), ("patches", units_of(None, len(groups_N)))):
            difference = paired.difference(labels_N, a_N, b_N, units, replicates=120, seed=trial)
            held[name] += difference.low <= 0 <= difference.high
    error = math.sqrt(0.95 * 0.05 / trials)
    assert held["slides"] / trials > 0.95 - 3 * error
    assert held["patches"] / trials < 0.85


def test_one_slide_or_equal_scores_say_nothing_or_nothing_else() -> None:
    labels_N, logits_N = np.array([0, 0, 1, 1]), np.array([0.1, 0.7, 0.4, 0.9])
    assert math.isnan(paired.difference(labels_N, logits_N, -logits_N, Units("slide", np.zeros(4, int), 1)).p_value)
    same = paired.difference(labels_N, logits_N, logits_N, units_of(None, 4))
    assert (same.low, same.high, same.p_value) == (0.0, 0.0, 1.0)


def test_a_difference_is_what_the_intervals_of_any_measure_make_of_it() -> None:
    """One method for one question: the interval of a difference is that of `intervals`, and p says the same."""
    rng = np.random.default_rng(1)
    labels_N, units = rng.integers(0, 2, 120), units_of(np.arange(120) % 12, 120)
    a_N, b_N = (labels_N + rng.normal(size=120) * noise for noise in (1.0, 1.4))
    first, second = weighted.prepare(labels_N, a_N), weighted.prepare(labels_N, b_N)

    def statistic(weights_BN: np.ndarray) -> np.ndarray:
        return (weighted.auc(first, weights_BN) - weighted.auc(second, weights_BN))[:, None]

    difference, wanted = (
        paired.difference(labels_N, a_N, b_N, units),
        intervals.bootstrap(statistic, units, ["plain"])[0],
    )
    assert (difference.difference, difference.low, difference.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    assert (difference.p_value < 0.05) == (not difference.low <= 0 <= difference.high)


def test_holm_by_hand() -> None:
    assert paired.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired.holm([]) == []
    corrected = paired.holm([0.01, math.nan])
    assert corrected[0] == pytest.approx(0.02)
    assert math.isnan(corrected[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_only_raises(p_values: list[float]) -> None:
    corrected = paired.holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, corrected, strict=True))
    assert [corrected[at] for at in np.argsort(p_values)] == sorted(corrected)
