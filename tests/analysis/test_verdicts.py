"""Verdicts: each is what its rule says of the numbers, in words, and never more than the interval allows."""

from __future__ import annotations

import math

import pytest

from fastpath.analysis import verdicts
from fastpath.analysis.intervals import Interval
from fastpath.analysis.verdicts import Sampled

CHANCE = (0.44, 0.56)


@pytest.mark.parametrize(
    ("gap", "ring", "slides", "finding", "caution", "says"),
    [
        ((-0.16, -0.20, -0.12), 0.87, 8, "ring", True, "it has learned the wrong place"),
        ((-0.16, -0.20, -0.12), 0.87, 0, "ring", True, "slides are unknown, so the interval is optimistic"),
        ((-0.16, -0.20, -0.12), 0.87, 4, "undecided", True, "patches are of 4 of the at least 5 slides wanted"),
        ((0.30, 0.20, 0.40), 0.51, 8, "centre", False, "the ring tells nothing that can be told from chance"),
        ((0.30, 0.20, 0.40), 0.66, 8, "centre", False, "the ring tells something too"),
        ((0.30, 0.20, 0.40), 0.66, 1, "undecided", True, "patches are of 1 of the at least 5 slides wanted"),
        ((0.02, -0.03, 0.07), 0.66, 8, "undecided", True, "cannot tell whether centre or ring decides"),
        ((-0.02, -0.04, 0.00), 0.66, 8, "undecided", True, "-0.020, 95 % interval -0.040 to +0.000"),
        ((0.40, math.nan, math.nan), 0.5, 8, "undecided", True, "+0.400, no interval"),
    ],
)
def test_a_network_that_looks_at_the_wrong_place_is_told(
    gap: tuple[float, float, float], ring: float, slides: int, finding: str, caution: bool, says: str
) -> None:
    found = verdicts.where_it_looks(Interval(*gap), Interval(ring, *CHANCE), Sampled(slides))
    assert (found.finding, found.caution) == (finding, caution)
    assert says in found.text
    assert "\n" not in found.text


@pytest.mark.parametrize(
    ("num", "out_of_fold", "finding", "caution", "says"),
    [
        (600, True, "too many", True, "(15.0%) are called wrong by predictions of AUC 0.785, more than the 3.3%"),
        (600, True, "too many", True, "they would still call 20.0% to 24.0% wrong"),
        (600, True, "too many", True, "they get weight 0: look at them"),
        (133, True, "too many", True, "133 of 4,000 labels"),
        (132, True, "few", False, "about 51% of such suspects prove wrong"),
        (132, True, "few", False, "they would still call 20.0% to 24.0% wrong"),
        (40, False, "not out of fold", True, "on their own training patches"),
    ],
)
def test_more_suspects_than_labels_are_usually_wrong_call_for_caution(
    num: int, out_of_fold: bool, finding: str, caution: bool, says: str
) -> None:
    found = verdicts.suspects(num, 4000, 0.785, Interval(0.22, 0.20, 0.24), out_of_fold=out_of_fold)
    assert (found.finding, found.caution) == (finding, caution)
    assert says in found.text
