"""Intervals against scipy, by their own laws, and by how often they cover the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fastpath.analysis import intervals, measures, weighted
from fastpath.analysis.proportions import proportion

Study = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any] | None]


def _mean_of(values_N: np.ndarray[Any, Any]) -> intervals.Statistic:
    return lambda weights_BN: (weights_BN @ values_N / weights_BN.sum(axis=1))[:, None]


def test_the_interval_of_a_mean_is_students() -> None:
    values_N = np.random.default_rng(1).normal(size=80)
    interval = intervals.bootstrap(_mean_of(values_N), intervals.units_of(None, 80), ["plain"], replicates=20_000)[0]
    wanted = stats.ttest_1samp(values_N, 0).confidence_interval(0.95)
    width = wanted.high - wanted.low
    assert interval.value == pytest.approx(values_N.mean())
    assert interval.low == pytest.approx(wanted.low, abs=0.03 * width)
    assert interval.high == pytest.approx(wanted.high, abs=0.03 * width)


def test_the_spread_of_resamples_is_scipys() -> None:
    values_N, units = np.random.default_rng(1).exponential(size=60), intervals.units_of(None, 60)
    means_B = np.concatenate([_mean_of(values_N)(w)[:, 0] for w in intervals.resamples(units, 20_000, 0)])
    theirs = stats.bootstrap((values_N,), np.mean, n_resamples=20_000, rng=np.random.default_rng(2))
    assert means_B.std(ddof=1) == pytest.approx(theirs.standard_error, rel=0.03)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    values_N, units = np.arange(40.0), intervals.units_of(None, 40)
    first, again, other = (intervals.bootstrap(_mean_of(values_N), units, ["plain"], seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_whole_slides_are_drawn() -> None:
    groups_N = np.array(list("aabbbccddde"), object)
    units = intervals.units_of(groups_N, 11)
    assert (units.kind, units.num) == ("slide", 5)
    for weights_BN in intervals.resamples(units, 300, 0):
        for name in "abcde":
            assert (np.ptp(weights_BN[:, groups_N == name], axis=1) == 0).all()
        first_of = [int(np.flatnonzero(groups_N == name)[0]) for name in "abcde"]
        assert (weights_BN[:, first_of].sum(axis=1) == 5).all()


def test_few_slides_are_not_resampled() -> None:
    assert intervals.units_of(np.array(list("aabbccdd"), object), 8).kind == "patch"


def test_patches_that_come_in_copies_widen_the_interval() -> None:
    values_N = np.repeat(np.random.default_rng(0).normal(size=30), 20)
    groups_N = np.repeat([f"slide {number}" for number in range(30)], 20).astype(object)
    by_slide = intervals.bootstrap(_mean_of(values_N), intervals.units_of(groups_N, 600), ["plain"])[0]
    by_patch = intervals.bootstrap(_mean_of(values_N), intervals.units_of(None, 600), ["plain"])[0]
    assert (by_slide.high - by_slide.low) > 3.5 * (by_patch.high - by_patch.low)


@given(st.integers(0, 60), st.integers(1, 60))
def test_a_share_of_patches_has_wilsons_interval(hits: int, more: int) -> None:
    size = hits + more
    hits_N = np.arange(size) < hits
    interval = proportion(hits_N, np.ones(size, bool), intervals.units_of(None, size))
    wanted = stats.binomtest(hits, size).proportion_ci(method="wilson")
    assert interval.value == hits / size
    assert (interval.low, interval.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_a_share_of_nothing_is_undefined() -> None:
    interval = proportion(np.ones(3, bool), np.zeros(3, bool), intervals.units_of(None, 3))
    assert np.isnan([interval.value, interval.low, interval.high]).all()


@pytest.mark.parametrize(("value", "scale"), [(np.nan, "plain"), (1.0, "logit"), (0.5, "logit")])
def test_what_is_undefined_perfect_or_never_varies_has_no_ends(value: float, scale: intervals.Scale) -> None:
    units = intervals.units_of(None, 9)
    interval = intervals.bootstrap(lambda weights_BN: np.full((len(weights_BN), 1), value), units, [scale])[0]
    assert np.isnan([interval.low, interval.high]).all()


def _auc_of(units: intervals.Units, noise_N: np.ndarray[Any, Any]) -> intervals.Statistic:
    assert units.positive_N is not None
    scores = weighted.prepare(units.positive_N, units.positive_N + noise_N)
    return lambda weights_BN: weighted.auc(scores, weights_BN)[:, None]


def _by_class(slides: int, with_positives: int) -> intervals.Units:
    """Forty patches a slide, half of them positive in some slides and none in the others."""
    of_N = np.repeat(np.arange(slides), 40)
    labels_N = (of_N < with_positives) & (np.arange(40 * slides) % 2 == 0)
    return intervals.units_of(of_N, len(of_N), labels_N)


def test_slides_that_hold_the_rarer_class_decide_the_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    freedom = {}
    for holds in (3, 12):
        units = _by_class(12, holds)
        statistic = _auc_of(units, rng.normal(size=len(units.of_N)))
        freedom[holds] = intervals.estimates(statistic, units, ["logit"])[0].freedom
    assert 2 <= freedom[3] < 6 < 10 < freedom[12] <= 11
    values_N = rng.normal(size=len(units.of_N))
    unknown = intervals.units_of(units.of_N, len(units.of_N))
    assert intervals.estimates(_mean_of(values_N), unknown, ["plain"])[0].freedom == 11


def test_the_interval_of_slide_means_is_students() -> None:
    """Slides of equal size and no classes: the textbook's, with CR3's 1 in place of (slides - 1) / slides."""
    means_U = np.random.default_rng(3).normal(size=9)
    units = intervals.units_of(np.repeat(np.arange(9), 5), 45)
    interval = intervals.bootstrap(_mean_of(np.repeat(means_U, 5)), units, ["plain"])[0]
    wanted = stats.ttest_1samp(means_U, 0).confidence_interval(0.95)
    assert interval.high - interval.low == pytest.approx((wanted.high - wanted.low) * (9 / 8) ** 0.5)
    assert interval.high + interval.low == pytest.approx(wanted.high + wanted.low)


def test_a_measure_that_hangs_on_one_slide_has_no_interval() -> None:
    units = _by_class(6, 1)
    interval = intervals.bootstrap(_auc_of(units, np.random.default_rng(0).normal(size=240)), units, ["logit"])[0]
    assert 0 < interval.value < 1
    assert np.isnan([interval.low, interval.high]).all()


def test_one_slide_with_all_the_errors_does_not_make_an_auc_sure() -> None:
    """Without that slide classes are separated, which is infinitely far on the logit scale."""
    units = _by_class(8, 8)
    assert units.positive_N is not None
    noise_N = np.arange(320) / 1e4 - np.where(units.of_N == 0, 3.0 * units.positive_N, 0.0)
    interval = intervals.bootstrap(_auc_of(units, noise_N), units, ["logit"])[0]
    assert interval.high - interval.low > 0.3


def test_a_share_of_slides_of_unequal_size_is_worth_few_slides() -> None:
    of_N = np.repeat(np.arange(6), [500, 5, 5, 5, 5, 5])
    interval = proportion(np.ones(525, bool), np.ones(525, bool), intervals.units_of(of_N, 525))
    assert interval.low < 0.3  # one slide has nearly all
    assert intervals.effective_number(np.array([500, 5, 5, 5, 5, 5])) == pytest.approx(1.1, abs=0.01)
    assert intervals.effective_number(np.full(7, 3)) == pytest.approx(7)


# --- coverage: how many of many simulated studies have the truth in their interval ---

SLOPE, GAP, SLIDE_SD = 0.5, 1.8, 0.7
"""Logits are `1 / SLOPE` times too sure; classes are `GAP` apart; slides differ by `SLIDE_SD`."""


def _study(rng: np.random.Generator, *, num: int, slides: int) -> Study:
    """Draw patches whose slides shift their scores and have shares of positives of their own."""
    of_N = rng.integers(slides, size=num) if slides else np.zeros(num, int)
    share_U = rng.beta(4, 6, max(slides, 1)) if slides else np.array([0.4])
    shift_U = rng.normal(0, SLIDE_SD, max(slides, 1)) if slides else np.zeros(1)
    labels_N = (rng.random(num) < share_U[of_N]).astype(np.int8)
    evidence_N = GAP * labels_N + shift_U[of_N] + rng.normal(0, 1, num)
    logits_N = (evidence_N - GAP / 2 - 0.2) * GAP / SLOPE
    return labels_N, logits_N, (of_N.astype(str).astype(object) if slides else None)


def _coverage(num_studies: int, *, slides: int, replicates: int = 400, num: int = 600) -> dict[str, float]:
    """Return, by measure, the share of studies whose 95 % interval holds the truth."""
    truth_rng = np.random.default_rng(99)
    # Truth by brute force: a population of very many slides.
    labels_N, logits_N, _ = _study(truth_rng, num=1_000_000, slides=400_000 if slides else 0)
    truth = dict(
        zip(
            measures.NAMES,
            measures.table(weighted.prepare(labels_N, logits_N), np.ones((1, len(labels_N))))[0],
            strict=True,
        )
    )
    truth["sensitivity"] = float((logits_N[labels_N == 1] >= 0).mean())
    truth["ppv"] = float(labels_N[logits_N >= 0].mean())
    covered = dict.fromkeys(truth, 0)
    rng = np.random.default_rng(5)
    for study in range(num_studies):
        labels_N, logits_N, groups_N = _study(rng, num=num, slides=slides)
        units, scores = intervals.units_of(groups_N, num, labels_N), weighted.prepare(labels_N, logits_N)

        def statistic(weights_BN: np.ndarray[Any, Any], scores: weighted.Scores = scores) -> np.ndarray[Any, Any]:
            return measures.table(scores, weights_BN)

        intervals_by_name = dict(
            zip(
                measures.NAMES,
                intervals.bootstrap(statistic, units, measures.SCALES, replicates=replicates, seed=study),
                strict=True,
            )
        )
        intervals_by_name["sensitivity"] = proportion(logits_N >= 0, labels_N == 1, units)
        intervals_by_name["ppv"] = proportion(labels_N == 1, logits_N >= 0, units)
        for name, interval in intervals_by_name.items():
            covered[name] += interval.low <= truth[name] <= interval.high
    return {name: count / num_studies for name, count in covered.items()}


@pytest.mark.parametrize("slides", [0, 40])
def test_intervals_cover_the_truth_in_most_of_a_few_studies(slides: int) -> None:
    for name, share in _coverage(40, slides=slides, replicates=200).items():
        assert share >= 0.8, (name, share)  # an honest interval falls below this once in some thousand runs


@pytest.mark.slow
@pytest.mark.parametrize("slides", [0, 40])
def test_intervals_cover_the_truth_as_often_as_they_say(slides: int) -> None:
    for name, share in _coverage(1000, slides=slides).items():
        # docs/evaluation.md names the one that is too narrow.
        assert share >= 0.89 if slides and name == "average_precision" else 0.92 <= share <= 0.975, (name, share)
