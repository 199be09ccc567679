"""DeLong's variance against its definition, pair by pair, and its test against chance."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastpath.analysis import delong
from fastpath.analysis.metrics import roc_auc


def by_definition(labels_N: np.ndarray, scores: list[np.ndarray]) -> np.ndarray:
    """Covariance of AUCs from every pair of a positive and a negative, with loops and Fractions' patience."""
    positives, negatives = np.flatnonzero(labels_N == 1), np.flatnonzero(labels_N == 0)
    m, k = len(positives), len(negatives)

    def psi(score: np.ndarray, i: int, j: int) -> float:
        return 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0

    v10 = [[sum(psi(score, i, j) for j in negatives) / k for i in positives] for score in scores]
    v01 = [[sum(psi(score, i, j) for i in positives) / m for j in negatives] for score in scores]
    auc = [sum(row) / m for row in v10]
    covariance = np.empty((len(scores), len(scores)))
    for a, b in itertools.product(range(len(scores)), repeat=2):
        s10 = sum((v10[a][i] - auc[a]) * (v10[b][i] - auc[b]) for i in range(m)) / (m - 1)
        s01 = sum((v01[a][j] - auc[a]) * (v01[b][j] - auc[b]) for j in range(k)) / (k - 1)
        covariance[a, b] = s10 / m + s01 / k
    return covariance


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 24), st.data())
def test_covariance_is_its_definition_ties_and_all(size: int, data: st.DataObject) -> None:
    labels_N = data.draw(arrays.arrays(np.int8, size, elements=st.integers(0, 1)))
    assume(2 <= labels_N.sum() <= size - 2)
    few = st.integers(-3, 3).map(float)  # so that many are equal
    scores = [data.draw(arrays.arrays(np.float64, size, elements=few)) for _ in range(2)]
    np.testing.assert_allclose(
        delong.covariance(labels_N, np.stack(scores)), by_definition(labels_N, scores), atol=1e-12
    )
    for score in scores:
        positive_M, negative_K = delong.placements(labels_N, score)
        assert positive_M.mean() == pytest.approx(roc_auc(labels_N, score), abs=1e-12)
        assert negative_K.mean() == pytest.approx(roc_auc(labels_N, score), abs=1e-12)
        assert delong.variance(labels_N, score) == pytest.approx(by_definition(labels_N, [score])[0, 0], abs=1e-12)


def test_a_published_like_example_by_hand() -> None:
    """Three positives, two negatives: V10 = (1, 1, 1/2), V01 = (2/3, 1)."""
    labels_N, logits_N = np.array([1, 1, 1, 0, 0]), np.array([5.0, 4.0, 2.0, 3.0, 1.0])
    assert delong.variance(labels_N, logits_N) == pytest.approx((1 / 12) / 3 + (1 / 18) / 2)


def test_a_score_is_not_better_than_itself_or_a_monotone_map_of_it() -> None:
    rng = np.random.default_rng(0)
    labels_N, logits_N = rng.integers(0, 2, 50), rng.normal(size=50)
    for other_N in (logits_N, np.exp(logits_N), 3 * logits_N - 1):
        test = delong.paired_test(labels_N, logits_N, other_N)
        assert (test.difference, test.standard_error, test.p_value) == (0.0, 0.0, 1.0)


def test_swapping_the_two_changes_the_sign_only() -> None:
    rng = np.random.default_rng(1)
    labels_N, a_N, b_N = rng.integers(0, 2, 80), rng.normal(size=80), rng.normal(size=80)
    there, back = delong.paired_test(labels_N, a_N, b_N), delong.paired_test(labels_N, b_N, a_N)
    assert there.difference == -back.difference
    assert there.p_value == pytest.approx(back.p_value)
    assert there.difference == pytest.approx(roc_auc(labels_N, a_N) - roc_auc(labels_N, b_N))


def test_one_patch_of_a_class_says_nothing() -> None:
    test = delong.paired_test(np.array([1, 0, 0]), np.array([1.0, 0.0, 2.0]), np.array([1.0, 0.0, 0.5]))
    assert math.isnan(test.p_value)
    assert math.isnan(test.standard_error)


def test_chance_is_called_a_difference_one_time_in_twenty() -> None:
    """Two scores equally good, correlated through a shared signal: 5 % of p-values below 0.05, within 4 errors."""
    rng = np.random.default_rng(2)
    trials = 1000
    labels_N = np.repeat([0, 1], 100)
    hits = 0
    for _ in range(trials):
        shared_N = labels_N + rng.normal(size=200)
        a_N, b_N = shared_N + rng.normal(size=200), shared_N + rng.normal(size=200)
        hits += delong.paired_test(labels_N, a_N, b_N).p_value < 0.05
    assert abs(hits / trials - 0.05) < 4 * math.sqrt(0.05 * 0.95 / trials)
