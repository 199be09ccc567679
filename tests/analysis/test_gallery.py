"""The gallery's choice: the surest mistakes, the undecided, and a balanced draw of the rest."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpath.analysis import gallery


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 80), st.sampled_from([2, 4, 8]))
def test_each_category_holds_what_it_says(seed: int, size: int, num: int) -> None:
    rng = np.random.default_rng(seed)
    labels_N, probability_N = rng.integers(0, 2, size), rng.integers(0, 21, size) / 20
    picks = gallery.choose(labels_N, probability_N, num=num, seed=seed)
    assert len({pick.position for pick in picks}) == len(picks)
    by = {name: [pick for pick in picks if pick.category == name] for name in gallery.MEANINGS}
    called_N = probability_N >= 0.5
    for name, wrong_N in (
        ("false positive", called_N & (labels_N == 0)),
        ("false negative", ~called_N & (labels_N == 1)),
    ):
        margins = sorted(np.abs(probability_N[wrong_N] - 0.5), reverse=True)[:num]
        assert [abs(pick.margin) for pick in by[name]] == margins
    assert all(called_N[pick.position] == (labels_N[pick.position] == 1) for pick in by["correct"])
    for name, chosen in by.items():
        assert len(chosen) <= num
        assert [pick.rank for pick in chosen] == list(range(1, len(chosen) + 1)), name
    for label in (0, 1):
        assert sum(labels_N[pick.position] == label for pick in by["borderline"]) <= num // 2
        assert sum(labels_N[pick.position] == label for pick in by["correct"]) <= num // 2


def test_enough_patches_fill_every_category_in_balance() -> None:
    rng = np.random.default_rng(0)
    labels_N, probability_N = rng.integers(0, 2, 500), rng.random(500)
    picks = gallery.choose(labels_N, probability_N, num=6)
    assert len(picks) == 24
    for name in ("borderline", "correct"):
        assert sum(labels_N[pick.position] for pick in picks if pick.category == name) == 3
    assert picks == gallery.choose(labels_N, probability_N, num=6)
    assert picks != gallery.choose(labels_N, probability_N, num=6, seed=1)
