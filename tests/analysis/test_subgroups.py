"""Subgroups of a table: their numbers, their order, and what is said of those that are too small."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import recall_score, roc_auc_score

from fastpath.analysis import subgroups

SLIDES = 24


def _study(*, blind: bool, seed: int = 0, num: int = 1440) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, calibrated logits, slides and scanners; to scanner B the network is nearly blind, if asked."""
    rng = np.random.default_rng(seed)
    labels_N, slide_N = (rng.random(num) < 0.4).astype(np.int8), np.arange(num) % SLIDES
    scanner_N = np.where(slide_N < SLIDES // 2, "A", "B").astype(object)
    strength_N = np.where((scanner_N == "B") & blind, 0.3, 1.8)
    scores_N = rng.normal(size=num) + strength_N * labels_N
    logits_N = strength_N * scores_N - strength_N**2 / 2 + math.log(0.4 / 0.6)  # the true ones
    return labels_N, logits_N, np.array([f"s{slide}" for slide in slide_N], object), scanner_N


def test_numbers_are_those_of_the_subgroup_alone_and_the_worst_comes_first() -> None:
    labels_N, logits_N, groups_N, scanner_N = _study(blind=True)
    worst, best = subgroups.survey(labels_N, logits_N, groups_N, {"scanner": scanner_N})
    assert (worst.value, best.value) == ("B", "A")
    for subgroup in (worst, best):
        of_N = scanner_N == subgroup.value
        probability_N = expit(logits_N[of_N])
        assert subgroup.auc.value == pytest.approx(roc_auc_score(labels_N[of_N], logits_N[of_N]))
        assert subgroup.sensitivity.value == pytest.approx(recall_score(labels_N[of_N], probability_N >= 0.5))
        assert subgroup.observed_over_expected.value == pytest.approx(labels_N[of_N].sum() / probability_N.sum())
        assert subgroup.observed_over_expected.low < 1 < subgroup.observed_over_expected.high
        assert (subgroup.num_patches, subgroup.num_positive, subgroup.num_slides) == (
            of_N.sum(),
            labels_N[of_N].sum(),
            SLIDES // 2,
        )
        assert subgroup.warnings == ()
    assert worst.below_whole
    assert not best.below_whole


def test_what_is_alike_is_seldom_called_worse() -> None:
    """Three subgroups of equals: the widened intervals call any of them worse in at most one table of twenty."""
    called = []
    for seed in range(24):
        labels_N, logits_N, groups_N, _ = _study(blind=False, seed=seed, num=480)
        columns = {"corner": np.array([str(int(name[1:]) % 3) for name in groups_N], object)}
        surveyed = subgroups.survey(labels_N, logits_N, groups_N, columns)
        called.append(any(subgroup.below_whole for subgroup in surveyed))
    assert np.mean(called) <= 0.1


@pytest.mark.parametrize(
    ("of", "warning_start"),
    [
        (slice(0, 30), "small: "),
        (slice(0, 2), "one class only: 2 with tumour, 0 without"),
        (slice(0, 4), "few slides: 1"),
    ],
)
def test_what_is_small_is_warned_of_and_decides_nothing(of: slice, warning_start: str) -> None:
    rng = np.random.default_rng(1)
    labels_N = np.concatenate([[1, 1, 0, 0], rng.integers(0, 2, 596)]).astype(np.int8)
    logits_N = np.concatenate([[-3, -3, 3, 3], rng.normal(size=596) + 4 * labels_N[4:]]).astype(float)
    groups_N = np.array(["first"] * 4 + [f"s{row % 20}" for row in range(596)], object)
    rare_N = np.full(600, "common", object)
    rare_N[of] = "rare"
    subgroup_by_value = {
        subgroup.value: subgroup for subgroup in subgroups.survey(labels_N, logits_N, groups_N, {"kind": rare_N})
    }
    assert any(warning.startswith(warning_start) for warning in subgroup_by_value["rare"].warnings)
    assert not subgroup_by_value["rare"].below_whole
    assert subgroup_by_value["common"].warnings == ()
    if "one class" in warning_start:
        assert math.isnan(subgroup_by_value["rare"].auc.value)
        assert math.isnan(subgroup_by_value["rare"].observed_over_expected.value)


def test_quarters_hold_a_quarter_each_and_keep_ties_together() -> None:
    names_N = subgroups.quarters(np.append(np.arange(100.0), np.nan))
    assert {name: int((names_N == name).sum()) for name in set(names_N)} == {
        "up to 24.8": 25,
        "24.8 to 49.5": 25,
        "49.5 to 74.2": 25,
        "above 74.2": 25,
        "unknown": 1,
    }
    assert set(subgroups.quarters(np.array([0.0] * 90 + [5.0] * 10))) == {"up to 0", "above 0"}
    assert not subgroups.usable(subgroups.quarters(np.zeros(50)))
    assert not subgroups.usable(np.array([f"patch {row}" for row in range(50)], object))
