"""Operating points against exhaustive search, counts against scikit-learn, shares against Bayes by counting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from fastpath.analysis import intervals, metrics, operating_points

Case = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@st.composite
def scored(draw: st.DrawFn) -> Case:
    size = draw(st.integers(2, 60))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    scores = draw(st.lists(st.integers(-8, 8), min_size=size, max_size=size))
    labels[:2] = [0, 1]
    return np.array(labels, np.int8), np.array(scores, np.float64) / 3


def _counts(case: Case, logit: float) -> tuple[int, int, int, int]:
    labels_N, logits_N = case
    tn, fp, fn, tp = confusion_matrix(labels_N, logits_N >= logit, labels=[0, 1]).ravel().tolist()
    return tp, fp, tn, fn


def _every_decision(case: Case) -> list[tuple[int, int, int, int]]:
    return [_counts(case, logit) for logit in [*np.unique(case[1]), np.inf]]


@settings(deadline=None, max_examples=60)
@given(scored(), st.sampled_from([1.0, 3.0, 10.0]))
def test_points_are_the_best_of_all_thresholds(case: Case, miss_cost: float) -> None:
    points = {point.name: _counts(case, point.logit) for point in operating_points.choose(*case, miss_cost)}
    every = _every_decision(case)

    def sensitivity(counts: tuple[int, int, int, int]) -> float:
        return counts[0] / (counts[0] + counts[3])

    def specificity(counts: tuple[int, int, int, int]) -> float:
        return counts[2] / (counts[2] + counts[1])

    def f1(counts: tuple[int, int, int, int]) -> float:
        return 2 * counts[0] / (2 * counts[0] + counts[1] + counts[3])

    def cost(counts: tuple[int, int, int, int]) -> float:
        return counts[1] + miss_cost * counts[3]

    youden = max(sensitivity(threshold) + specificity(threshold) for threshold in every)
    assert sensitivity(points["Youden"]) + specificity(points["Youden"]) == pytest.approx(youden)
    assert f1(points["best F1"]) == pytest.approx(max(map(f1, every)))
    assert cost(points["least cost"]) == pytest.approx(min(map(cost, every)))
    strict = points["specificity 95%"]
    assert specificity(strict) >= 0.95
    assert sensitivity(strict) == max(sensitivity(threshold) for threshold in every if specificity(threshold) >= 0.95)
    for target in (0.95, 0.98, 0.99):
        lax = points[f"sensitivity {target:.0%}"]
        assert sensitivity(lax) >= target
        assert specificity(lax) == max(
            specificity(threshold) for threshold in every if sensitivity(threshold) >= target
        )


@settings(deadline=None, max_examples=60)
@given(scored(), scored())
def test_a_threshold_is_applied_unchanged(chosen_on: Case, applied_to: Case) -> None:
    labels_N, logits_N = applied_to
    units = intervals.units_of(None, len(labels_N))
    for point in operating_points.choose(*chosen_on):
        outcome = operating_points.apply(labels_N, logits_N, point.logit, units)
        tp, fp, tn, fn = _counts(applied_to, point.logit)
        counts = outcome.confusion
        assert (counts.true_positive, counts.false_positive, counts.true_negative, counts.false_negative) == (
            tp,
            fp,
            tn,
            fn,
        )
        assert outcome.sensitivity.value == pytest.approx(tp / (tp + fn))
        assert outcome.specificity.value == pytest.approx(tn / (tn + fp))
        assert outcome.ppv.value == pytest.approx(tp / (tp + fp) if tp + fp else math.nan, nan_ok=True)
        assert outcome.npv.value == pytest.approx(tn / (tn + fn) if tn + fn else math.nan, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(scored(), st.lists(st.floats(-4, 4), min_size=1, max_size=10))
def test_the_steps_of_a_slider_are_counts(case: Case, thresholds: list[float]) -> None:
    counts = operating_points.steps(*case, thresholds)
    assert counts == [_counts(case, threshold)[:2] for threshold in thresholds]
    exact = np.unique(case[1]).tolist()
    assert operating_points.steps(*case, exact) == [_counts(case, threshold)[:2] for threshold in exact]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_predictive_values_at_the_studys_own_prevalence_are_its_own(tp: int, fp: int, tn: int, fn: int) -> None:
    if not tp + fn or not tn + fp:
        return
    prevalence = (tp + fn) / (tp + fp + tn + fn)
    ppv, npv = operating_points.predictive_values(tp / (tp + fn), tn / (tn + fp), prevalence)
    assert ppv == pytest.approx(tp / (tp + fp) if tp + fp else math.nan, nan_ok=True)
    assert npv == pytest.approx(tn / (tn + fn) if tn + fn else math.nan, nan_ok=True)


def test_a_rare_disease_lowers_the_ppv() -> None:
    ppv, npv = operating_points.predictive_values(0.9, 0.9, 0.01)
    assert ppv == pytest.approx(0.009 / (0.009 + 0.099))
    assert npv == pytest.approx(0.891 / 0.892)


def test_predictive_values_elsewhere_are_bayes_with_intervals_as_mercaldo_has_them() -> None:
    rng = np.random.default_rng(3)
    labels_N = (rng.random(4000) < 0.4).astype(int)
    logits_N = 2 * labels_N - 1 + rng.normal(size=4000)
    units = intervals.units_of(None, 4000)
    ppv, npv = operating_points.at_prevalence(labels_N, logits_N, 0.0, units, 0.02)
    hit, pas = (logits_N >= 0)[labels_N == 1].mean(), (logits_N < 0)[labels_N == 0].mean()
    assert (ppv.value, npv.value) == pytest.approx(operating_points.predictive_values(hit, pas, 0.02))
    positives, negatives = (labels_N == 1).sum(), (labels_N == 0).sum()
    # Mercaldo, Lau and Zhou 2007: the variances of the log odds.
    for interval, variance in (
        (ppv, (1 - hit) / hit / positives + pas / (1 - pas) / negatives),
        (npv, hit / (1 - hit) / positives + (1 - pas) / pas / negatives),
    ):
        wide = np.diff(metrics.logits(np.array([interval.low, interval.high])))[0]
        assert wide == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.1)
        assert interval.low < interval.value < interval.high


def test_where_no_tumour_is_missed_npv_elsewhere_has_no_interval() -> None:
    labels_N, logits_N = np.arange(60) % 2, np.where(np.arange(60) % 2 == 1, 1.0, np.arange(60) % 3 - 1.0)
    _, npv = operating_points.at_prevalence(labels_N, logits_N, 0.5, intervals.units_of(None, 60), 0.1)
    assert npv.value == 1
    assert np.isnan([npv.low, npv.high]).all()
