"""Free-response ROC against the challenge's own procedure, written out tile by tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpath.analysis import froc
from fastpath.errors import DataError


def _published(slides: list[froc.Hits]) -> tuple[list[float], list[float], float]:
    """The challenge's computeFROC: a missed lesion has score 0, and thresholds are all scores but the lowest."""
    alarms = [score for hits in slides for score in hits.false_alarms_F]
    lesion_scores = [max(score, 0.0) for hits in slides for score in hits.lesions_L]
    rates, sensitivity = [], []
    for threshold in sorted(set(alarms + lesion_scores))[1:]:
        rates.append(sum(score >= threshold for score in alarms) / len(slides))
        sensitivity.append(sum(score >= threshold for score in lesion_scores) / len(lesion_scores))
    rates.append(0.0)
    sensitivity.append(0.0)
    return rates, sensitivity, float(np.mean(np.interp(froc.RATES, rates[::-1], sensitivity[::-1])))


scores = st.integers(1, 30).map(lambda number: number / 30)
slide = st.tuples(st.lists(st.one_of(st.just(-np.inf), scores), max_size=5), st.lists(scores, max_size=30))


@settings(deadline=None)
@given(st.lists(slide, min_size=1, max_size=5))
def test_it_equals_the_published_procedure(drawn: list[tuple[list[float], list[float]]]) -> None:
    # One lesion is always missed: where none is, the published code drops the laxest threshold by its [1:].
    hits = [froc.Hits(np.array([*lesions]), np.array(alarms)) for lesions, alarms in drawn]
    hits.append(froc.Hits(np.array([-np.inf]), np.empty(0)))
    curve = froc.froc(hits)
    rates, sensitivity, score = _published(hits)
    np.testing.assert_allclose(curve.rates_T, rates[::-1])
    np.testing.assert_allclose(curve.sensitivity_T, sensitivity[::-1])
    assert curve.score == pytest.approx(score)
    assert curve.num_slides == len(hits)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_matching_equals_a_loop_over_detections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label_HW = rng.integers(0, 5, (6, 7)).astype(np.int32)
    label_HW.flat[:5] = range(5)
    lesions = froc.Lesions(label_HW, frozenset({2}), 10.0)
    places_D2, scores_D = rng.integers(-2, 9, (40, 2)), rng.random(40)
    hits = froc.match(lesions, places_D2, scores_D)
    best, alarms = dict.fromkeys((1, 3, 4), -np.inf), []
    for (row, column), score in zip(places_D2.tolist(), scores_D, strict=True):
        number = label_HW[row, column] if 0 <= row < 6 and 0 <= column < 7 else 0
        if number == 0:
            alarms.append(score)
        elif number in best:
            best[number] = max(best[number], score)
    assert hits.lesions_L.tolist() == list(best.values())
    assert hits.false_alarms_F.tolist() == alarms
    assert lesions.num_lesions == 3


def test_a_perfect_reader_scores_one_and_a_blind_one_nothing() -> None:
    perfect = froc.froc([froc.Hits(np.array([0.9, 0.8]), np.array([0.1]))])
    assert perfect.score == 1.0
    blind = froc.froc([froc.Hits(np.array([-np.inf]), np.array([0.9] * 20))])
    assert blind.score == 0.0
    assert blind.thresholds_T[0] == np.inf


def test_lesions_are_joined_filled_and_told_from_isolated_cells() -> None:
    mask_HW = np.zeros((100, 200), bool)
    mask_HW[10:50, 10:50] = True
    mask_HW[20:30, 20:30] = False  # a hole
    mask_HW[10:50, 54:90] = True  # 4 pixels of 10 µm away: joined
    mask_HW[80:84, 150:154] = True  # 4 pixels across: isolated cells
    mask_HW[60:95, 10:60] = True  # far from the first: another
    lesions = froc.lesions(mask_HW, 10.0)
    assert lesions.label_HW.max() == 3
    assert lesions.label_HW[25, 25] == lesions.label_HW[20, 80] > 0
    assert lesions.isolated == {lesions.label_HW[82, 152]}
    assert lesions.num_lesions == 2


def test_the_major_axis_is_that_of_an_ellipse() -> None:
    y, x = np.mgrid[-60:61, -60:61]
    turned = (((x + y) / np.sqrt(2) / 50) ** 2 + ((x - y) / np.sqrt(2) / 20) ** 2) <= 1
    assert froc.major_axis(turned) == pytest.approx(100, rel=0.01)


def test_nothing_to_find_is_refused() -> None:
    assert froc.lesions(np.zeros((4, 4), bool), 10.0).num_lesions == 0
    with pytest.raises(DataError, match="found no lesion in 1 slides"):
        froc.froc([froc.Hits(np.empty(0), np.array([0.5]))])


def test_the_score_has_an_interval_over_slides() -> None:
    rng = np.random.default_rng(2)

    def scored(num: int) -> list[froc.Hits]:
        scores_of_slides = [rng.random(3) * rng.integers(0, 2, 3) for _ in range(num)]
        return [froc.Hits(np.where(best > 0, best, -np.inf), rng.random(4) * 0.9) for best in scores_of_slides]

    few, many = scored(8), scored(120)
    ends = [froc.score_interval(slides) for slides in (few, many)]
    for slides, interval in zip((few, many), ends, strict=True):
        assert interval.value == froc.froc(slides).score
        assert 0 <= interval.low < interval.value < interval.high <= 1
    assert ends[0].high - ends[0].low > 2 * (ends[1].high - ends[1].low)
    assert np.isnan(froc.score_interval(few[:4]).low)  # fewer than five slides
    lone = [few[0], *(froc.Hits(np.empty(0), np.array([0.5])) for _ in range(6))]
    assert np.isnan(froc.score_interval(lone).low)  # all lesions are of one slide
