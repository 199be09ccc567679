"""Slide scores against their definitions, and detections against a search of all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fastpath.analysis import slides
from fastpath.errors import DataError


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 12))
def test_scores_are_what_they_are_called(values: list[float], top_k: int) -> None:
    scores = slides.slide_scores(np.array(values), top_k)
    assert set(scores) == set(slides.AGGREGATIONS)
    assert scores["max"] == max(values)
    assert scores["mean"] == pytest.approx(np.mean(values))
    assert scores["top_k"] == pytest.approx(np.mean(sorted(values)[-top_k:]))
    assert scores["noisy_or"] == pytest.approx(1 - np.prod(1 - np.array(values)), abs=1e-9)


def test_noisy_or_ranks_slides_that_round_to_one() -> None:
    sure, surer = np.full(100, 0.9), np.full(200, 0.9)
    assert slides.slide_scores(sure)["noisy_or"] == slides.slide_scores(surer)["noisy_or"] == 1.0
    assert slides.evidence(sure) < slides.evidence(surer)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_table_is_aggregated_slide_by_slide(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups_N = rng.choice(["a", "b", "c", "d"], 60)
    groups_N[:4] = ["a", "b", "c", "d"]
    labels_N = np.where(np.isin(groups_N, ["a", "c"]), 0, rng.integers(0, 2, 60)).astype(np.int8)
    labels_N[1], labels_N[3] = 1, 1
    probability_N = rng.random(60)
    table = slides.by_slide(groups_N, labels_N, probability_N)
    assert table.names_G == ["a", "b", "c", "d"]
    assert table.labels_G.tolist() == [0, 1, 0, 1]
    for place, name in enumerate(table.names_G):
        mine = groups_N == name
        assert table.num_G[place] == mine.sum()
        assert table.positive_share_G[place] == pytest.approx(labels_N[mine].mean())
        for kind, value in slides.slide_scores(probability_N[mine]).items():
            assert table.scores[kind][place] == pytest.approx(value)
    assert table.auc is not None
    for kind in ("max", "mean", "top_k"):
        assert table.auc[kind].value == pytest.approx(roc_auc_score([0, 1, 0, 1], table.scores[kind]))


def test_slides_of_one_kind_have_scores_but_no_auc() -> None:
    table = slides.by_slide(np.array(["a", "b", "b"]), np.array([1, 1, -1]), np.array([0.2, 0.3, 0.4]))
    assert table.auc is None
    assert table.labels_G.tolist() == [1, -1]
    assert np.isnan(table.positive_share_G[1])


@pytest.mark.parametrize("values", [[], [0.5, 1.5], [float("nan"), 0.1]])
def test_what_is_no_probability_is_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="wanted probabilities"):
        slides.by_slide(np.array(["a"] * len(values)), np.zeros(len(values)), np.array(values))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 4))
def test_detections_are_greedy_and_apart(seed: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    places_N2 = np.argwhere(rng.random((12, 9)) < 0.6) + np.array([30, -4])
    scores_N = rng.random(len(places_N2))
    kept = slides.detections(places_N2, scores_N, radius, least=0.3)
    wanted: list[int] = []
    for tile in np.argsort(-scores_N):
        apart = [np.hypot(*(places_N2[tile] - places_N2[other])) > radius for other in wanted]
        if scores_N[tile] >= 0.3 and all(apart):
            wanted.append(int(tile))
    assert kept.tolist() == wanted
