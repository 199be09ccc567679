"""Confident learning against cleanlab, and against labels flipped on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpath.analysis import label_errors, metrics
from fastpath.errors import DataError


def study(seed: int, size: int, share: float, strength: float, lean: float) -> tuple[np.ndarray, ...]:
    """True labels, given labels of which a share is flipped, and logits that know the truth to some degree."""
    rng = np.random.default_rng(seed)
    true_N = (rng.random(size) < 0.4).astype(np.int64)
    true_N[:2], flipped_N = (0, 1), rng.random(size) < share
    flipped_N[:2] = False
    logits_N = rng.normal(strength * (2 * true_N - 1) + lean, 1.5)
    return true_N, np.where(flipped_N, 1 - true_N, true_N), logits_N, flipped_N


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(20, 400),
    share=st.floats(0, 0.4),
    strength=st.floats(0, 4),
    lean=st.floats(-2, 2),
)
def test_suspects_are_those_of_cleanlab(seed: int, size: int, share: float, strength: float, lean: float) -> None:
    cleanlab_count = pytest.importorskip("cleanlab.count")
    cleanlab_filter = pytest.importorskip("cleanlab.filter")
    _, labels_N, logits_N, _ = study(seed, size, share, strength, lean)
    probability_N = metrics.probabilities(logits_N)
    both_N2 = np.stack([1 - probability_N, probability_N], axis=1)
    errors = label_errors.find(labels_N, logits_N)
    wanted_22 = cleanlab_count.compute_confident_joint(labels_N, both_N2)
    # cleanlab rounds to whole patches, keeping the sums of rows.
    np.testing.assert_allclose(errors.joint_22, wanted_22, atol=1.0)
    wanted_N = cleanlab_filter.find_label_issues(
        labels_N, both_N2, confident_joint=wanted_22, min_examples_per_class=1, n_jobs=1
    )
    assert (errors.suspected_N != wanted_N).sum() <= 2  # half a patch may round either way, in each class


def test_most_flipped_labels_are_found_and_hardly_any_other() -> None:
    _, labels_N, logits_N, flipped_N = study(3, 5000, 0.1, 4.0, 0.5)
    errors = label_errors.find(labels_N, logits_N)
    assert (errors.suspected_N & flipped_N).sum() >= 0.9 * flipped_N.sum()
    assert (errors.suspected_N & flipped_N).sum() >= 0.9 * errors.suspected_N.sum()
    assert errors.estimated_errors == pytest.approx(flipped_N.sum(), rel=0.15)


def test_the_estimate_keeps_the_labels_given() -> None:
    _, labels_N, logits_N, _ = study(1, 300, 0.2, 1.0, -1.0)
    np.testing.assert_allclose(
        label_errors.find(labels_N, logits_N).joint_22.sum(axis=1), np.bincount(labels_N, minlength=2)
    )


def test_clean_labels_that_are_told_apart_are_not_suspected() -> None:
    labels_N = np.arange(100) % 2
    errors = label_errors.find(labels_N, np.where(labels_N == 1, 5.0, -5.0))
    assert not errors.suspected_N.any()


def test_losses_are_the_terms_of_the_log_loss() -> None:
    _, labels_N, logits_N, _ = study(5, 200, 0.2, 1.0, 0.0)
    assert label_errors.losses(labels_N, logits_N).mean() == pytest.approx(metrics.log_loss(labels_N, logits_N))
    assert np.isfinite(label_errors.losses(np.array([0, 1]), np.array([900.0, -900.0]))).all()


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="wanted both classes"):
        label_errors.find(np.ones(4), np.arange(4.0))


@pytest.mark.parametrize(("distance", "auc"), [(1.1, 0.785), (2.3, 0.948)])
def test_classes_that_overlap_are_suspected_though_every_label_is_right(distance: float, auc: float) -> None:
    """Two normal distributions `distance` standard deviations apart, scored by what their densities say."""
    rng = np.random.default_rng(3)
    labels_N = (rng.random(6000) < 0.4).astype(np.int64)
    logits_N = distance * rng.normal(distance * (labels_N - 0.5), 1.0) + np.log(0.4 / 0.6)
    assert metrics.roc_auc(labels_N, logits_N) == pytest.approx(auc, abs=0.02)
    errors, expected = label_errors.find(labels_N, logits_N), label_errors.overlap(labels_N, logits_N)
    assert errors.suspected_N.mean() > 0.03
    assert expected.low - 0.01 < errors.suspected_N.mean() < expected.high + 0.01
