"""Every measure against the plain one on repeated patches; weightings do not disturb one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpath.analysis import intervals, measures, metrics, weighted

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
    measures_BM = measures.table(weighted.prepare(labels_N, logits_N), np.stack([weights_N, np.ones_like(weights_N)]))
    for row, counts_N in enumerate((weights_N, np.ones_like(weights_N))):
        repeated = np.repeat(labels_N, counts_N), np.repeat(logits_N, counts_N)
        for name, plain in PLAIN.items():
            assert measures_BM[row, measures.NAMES.index(name)] == pytest.approx(plain(*repeated), abs=1e-12), name


def test_a_weighting_without_one_class_is_undefined_and_disturbs_no_other() -> None:
    labels_N, logits_N = np.array([0, 1, 0, 1, 1, 0]), np.array([0.0, 1.0, 2.0, 0.5, 3.0, -1.0])
    scores = weighted.prepare(labels_N, logits_N)
    both = measures.table(scores, np.stack([labels_N, np.ones(6)]))
    assert np.isnan(both[0, 0])
    np.testing.assert_allclose(both[1], measures.table(scores, np.ones((1, 6)))[0], rtol=1e-9)


def test_the_auc_alone_is_the_one_among_all_measures() -> None:
    rng = np.random.default_rng(4)
    scores = weighted.prepare(rng.integers(0, 2, 50), rng.normal(size=50).round(1))
    weights_BN = rng.integers(0, 3, (9, 50))
    np.testing.assert_array_equal(weighted.auc(scores, weights_BN), measures.table(scores, weights_BN)[:, 0])


@pytest.mark.parametrize("measure", measures.MEASURES, ids=lambda measure: measure.name)
def test_a_row_names_a_measure_of_each_weighting_by_itself(measure: measures.Measure) -> None:
    rng = np.random.default_rng(4)
    labels_N = rng.integers(0, 2, 50)
    scores = weighted.prepare(labels_N, labels_N + rng.normal(size=50).round(1))
    weights_BN = rng.integers(0, 3, (9, 50))
    together_B = measure.values(weighted.Weighting(scores, weights_BN))
    assert np.isfinite(together_B).all()
    alone = [measure.values(weighted.Weighting(scores, weights_BN[at : at + 1]))[0] for at in range(9)]
    np.testing.assert_allclose(together_B, alone, rtol=1e-6)


def test_measures_with_intervals_are_those_of_the_table_by_name() -> None:
    rng = np.random.default_rng(4)
    labels_N = rng.integers(0, 2, 60)
    logits_N = labels_N + rng.normal(size=60)
    interval_by_name = measures.with_intervals(
        labels_N, logits_N, intervals.units_of(None, 60, labels_N), 0, replicates=50
    )
    once_1N = np.ones((1, 60))
    assert [interval.value for interval in interval_by_name.values()] == measures.table(
        weighted.prepare(labels_N, logits_N), once_1N
    )[0].tolist()
    assert list(interval_by_name) == list(measures.NAMES)
    assert len(set(measures.NAMES)) == len(measures.NAMES)
    for interval in interval_by_name.values():
        assert interval.low < interval.value < interval.high
