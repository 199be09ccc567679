"""Metrics against scikit-learn, brute force and their own invariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch.nn import functional

from fastpath.analysis import metrics
from fastpath.errors import DataError


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Both classes, and few enough distinct scores that ties are common."""
    labels = draw(
        st.lists(st.integers(0, 1), min_size=2, max_size=40).filter(lambda labels: 0 < sum(labels) < len(labels))
    )
    scores = draw(st.lists(st.integers(-6, 6), min_size=len(labels), max_size=len(labels)))
    return np.array(labels, np.int8), np.array(scores, np.float64) / 2


@given(scored())
def test_auc_equals_brute_force_pair_counts(case: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    labels_N, logits_N = case
    positives, negatives = logits_N[labels_N == 1], logits_N[labels_N == 0]
    wins = sum(Fraction(int(p > n) * 2 + int(p == n), 2) for p in positives for n in negatives)
    assert metrics.roc_auc(labels_N, logits_N) == float(wins / (len(positives) * len(negatives)))


@given(scored())
def test_metrics_agree_with_scikit_learn(case: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    labels_N, logits_N = case
    probability_N = metrics.probabilities(logits_N)
    assert metrics.roc_auc(labels_N, logits_N) == pytest.approx(sklearn_metrics.roc_auc_score(labels_N, logits_N))
    assert metrics.average_precision(labels_N, logits_N) == pytest.approx(
        sklearn_metrics.average_precision_score(labels_N, logits_N)
    )
    assert metrics.log_loss(labels_N, logits_N) == pytest.approx(sklearn_metrics.log_loss(labels_N, probability_N))
    assert metrics.brier(labels_N, logits_N) == pytest.approx(sklearn_metrics.brier_score_loss(labels_N, probability_N))
    assert metrics.accuracy(labels_N, logits_N) == sklearn_metrics.accuracy_score(labels_N, logits_N >= 0)
    counts = metrics.confusion(labels_N, logits_N)
    expected = sklearn_metrics.confusion_matrix(labels_N, logits_N >= 0, labels=[0, 1]).ravel().tolist()
    assert [counts.true_negative, counts.false_positive, counts.false_negative, counts.true_positive] == expected


@given(scored(), st.floats(0.1, 10), st.floats(-5, 5))
def test_ranking_metrics_are_unchanged_by_monotone_maps(
    case: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], slope: float, offset: float
) -> None:
    labels_N, logits_N = case
    for mapped_N in (slope * logits_N + offset, np.tanh(logits_N / 4)):
        assert metrics.roc_auc(labels_N, mapped_N) == metrics.roc_auc(labels_N, logits_N)
        assert metrics.average_precision(labels_N, mapped_N) == metrics.average_precision(labels_N, logits_N)


@given(scored())
def test_auc_mirrors_when_labels_or_scores_are_turned_round(
    case: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    labels_N, logits_N = case
    auc = metrics.roc_auc(labels_N, logits_N)
    assert metrics.roc_auc(1 - labels_N, logits_N) == pytest.approx(1 - auc)
    assert metrics.roc_auc(labels_N, -logits_N) == pytest.approx(1 - auc)


@given(scored(), st.floats(0.01, 0.99))
def test_confusion_counts_every_patch_once(
    case: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], threshold: float
) -> None:
    labels_N, logits_N = case
    counts = metrics.confusion(labels_N, logits_N, threshold)
    assert counts.true_positive + counts.false_negative == labels_N.sum()
    assert counts.true_negative + counts.false_positive == (1 - labels_N).sum()


def test_log_loss_and_probabilities_hold_at_extreme_logits() -> None:
    logits_N = np.array([-1e4, -40.0, 40.0, 1e4])
    assert metrics.log_loss(np.array([1, 0, 0, 1]), logits_N) == pytest.approx((1e4 + 40) / 4)
    np.testing.assert_allclose(metrics.probabilities(logits_N), [0, np.exp(-40), 1, 1], rtol=1e-12)


def test_float32_labels_and_logits_are_welcome() -> None:
    labels_N = np.array([0, 1, 1, 0], np.float32)
    assert metrics.roc_auc(labels_N, np.array([0.1, 0.4, 0.3, 0.3], np.float32)) == 0.875


@pytest.mark.parametrize("metric", [metrics.roc_auc, metrics.average_precision])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_one_line(metric: Callable[..., float], label: int) -> None:
    with pytest.raises(DataError, match="wanted both classes") as error:
        metric(np.full(3, label), np.arange(3.0))
    assert "\n" not in str(error.value)


def test_one_class_still_has_accuracy_and_loss() -> None:
    assert metrics.accuracy(np.ones(2), np.array([3.0, -3.0])) == 0.5
    assert metrics.log_loss(np.ones(1), np.zeros(1)) == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([], [], "found no patches"),
        ([0, -1], [0.0, 1.0], "found 1 of 2 unknown"),
        ([0, np.nan], [0.0, 1.0], "found 1 of 2 unknown"),
        ([0, 1], [0.0, np.inf], "found 1 of 2 not finite"),
    ],
)
def test_unusable_input_is_refused(labels: list[float], logits: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        metrics.accuracy(np.array(labels), np.array(logits))


PAIRS = st.lists(st.tuples(st.integers(0, 1), st.floats(-30, 30, width=32)), min_size=2, max_size=30)


@given(PAIRS)
def test_the_mean_cross_entropy_is_torchs(pairs: list[tuple[int, float]]) -> None:
    labels_N, logits_N = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    # In float64: torch's float32 loses digits of small losses, ours does not.
    logits, labels = torch.tensor(logits_N).double(), torch.tensor(labels_N).double()
    wanted = functional.binary_cross_entropy_with_logits(logits, labels)
    assert metrics.mean_cross_entropy(labels_N, logits_N) == pytest.approx(wanted.item(), rel=1e-5, abs=1e-7)


def test_what_cannot_be_scored_is_nan() -> None:
    assert math.isnan(metrics.roc_auc_or_nan(np.ones(3), np.zeros(3)))
    assert math.isnan(metrics.roc_auc_or_nan(np.array([0, 1]), np.array([np.nan, 1.0])))
    assert math.isnan(metrics.mean_cross_entropy(np.empty(0), np.empty(0)))


def test_the_cross_entropy_of_a_confident_logit_is_finite() -> None:
    assert metrics.mean_cross_entropy(np.array([1.0]), np.array([-1000.0])) == 1000.0
