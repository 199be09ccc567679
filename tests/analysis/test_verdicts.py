"""Verdicts: each is what its rule says of the numbers, in words, and never more than the interval allows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastpath.analysis import verdicts
from fastpath.analysis.intervals import Interval
from fastpath.analysis.pixels.appearance import LOOKS
from fastpath.analysis.verdicts import Aim, Outside, Sampled

CHANCE = (0.44, 0.56)


@pytest.mark.parametrize(
    ("gap", "ring", "slides", "finding", "caution", "phrase"),
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
    gap: tuple[float, float, float], ring: float, slides: int, finding: str, caution: bool, phrase: str
) -> None:
    verdict = verdicts.where_it_looks(Interval(*gap), Interval(ring, *CHANCE), Sampled(slides))
    assert (verdict.finding, verdict.caution) == (finding, caution)
    assert phrase in verdict.text
    assert "\n" not in verdict.text


@pytest.mark.parametrize(
    ("num", "out_of_fold", "finding", "caution", "phrase"),
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
    num: int, out_of_fold: bool, finding: str, caution: bool, phrase: str
) -> None:
    verdict = verdicts.suspects(num, 4000, 0.785, Interval(0.22, 0.20, 0.24), out_of_fold=out_of_fold)
    assert (verdict.finding, verdict.caution) == (finding, caution)
    assert phrase in verdict.text


def _outside(name: str, below: float, above: float) -> Outside:
    return Outside(name, below, above, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("measures", "anywhere", "finding", "caution", "phrase"),
    [
        ([], math.nan, "unknown", True, "keeps no appearance.json"),
        ([_outside("eosin", 0.0, 0.49)], 0.49, "alike", False, "49% of its patches lie outside"),
        ([_outside("eosin", 0.0, 0.5)], 0.5, "foreign", True, "trained on, 50% of them more eosin;"),
        (
            [_outside("eosin", 0.0, 0.3), _outside("sharpness", 0.6, 0.1), _outside("brightness", 0.1, 0.1)],
            0.8,
            "foreign",
            True,
            "trained on, 60% of them more blurred, 30% of them more eosin;",
        ),
        (
            [_outside("haematoxylin", 0.2, 0.0), _outside("brightness", 0.1, 0.24)],
            0.55,
            "foreign",
            True,
            "trained on, 24% of them brighter;",
        ),
    ],
)
def test_foreign_tissue_is_named_by_what_is_foreign(
    measures: list[Outside], anywhere: float, finding: str, caution: bool, phrase: str
) -> None:
    verdict = verdicts.foreign(measures, anywhere)
    assert (verdict.finding, verdict.caution) == (finding, caution)
    assert phrase in verdict.text


@pytest.mark.parametrize("between", [0.0, 0.7, 1.0])
def test_few_slides_like_those_trained_on_are_called_foreign(between: float) -> None:
    """However much of the variance lies between slides: the bound is of the worst case."""
    rng = np.random.default_rng(5)
    shape = (400, 60, len(LOOKS))  # slides, patches, measures
    drawn = math.sqrt(between) * rng.normal(size=shape)[:, :1] + math.sqrt(1 - between) * rng.normal(size=shape)
    tail = (1 - verdicts.CENTRAL) / 2
    low, high = (np.quantile(drawn, end, axis=(0, 1)) for end in (tail, 1 - tail))
    anywhere = ((drawn < low) | (drawn > high)).any(axis=2).mean(axis=1)
    assert (anywhere >= verdicts.HALF).mean() <= verdicts.FALSE_ALARMS


@pytest.mark.parametrize(
    ("auc", "slides", "finding", "caution", "phrase"),
    [
        ((0.91, 0.87, 0.94), 12, "better than chance", False, "AUC 0.910, 95 % interval 0.870 to 0.940"),
        ((0.91, 0.87, 0.94), 0, "better than chance", False, "slides are unknown, so the interval is optimistic"),
        ((0.91, 0.87, 0.94), 3, "undecided", True, "patches are of 3 of the at least 5 slides wanted"),
        ((0.85, 0.74, 0.92), 12, "imprecise", True, "the interval is wider than 0.1"),
        ((0.55, 0.48, 0.62), 12, "chance", True, "no better than chance may do"),
        ((0.30, 0.25, 0.36), 12, "reversed", True, "the wrong way round"),
        ((1.0, math.nan, math.nan), 12, "undecided", True, "AUC 1.000, no interval"),
    ],
)
def test_an_auc_is_told_as_far_as_its_interval_allows(
    auc: tuple[float, float, float], slides: int, finding: str, caution: bool, phrase: str
) -> None:
    verdict = verdicts.ranking(Interval(*auc), Sampled(slides))
    assert (verdict.finding, verdict.caution) == (finding, caution)
    assert phrase in verdict.text


KEPT, OPEN, MISSED = (0.97, 0.95, 0.99), (0.95, 0.92, 0.97), (0.90, 0.85, 0.94)


@pytest.mark.parametrize(
    ("reached", "slides", "finding", "phrase"),
    [
        ([KEPT], 8, "kept", "'sensitivity 95%' kept (0.970, 95 % interval 0.950 to 0.990)"),
        ([KEPT, OPEN], 8, "undecided", "'sensitivity 95%' undecided (0.950, 95 % interval 0.920 to 0.970)"),
        ([KEPT, OPEN, MISSED], 8, "missed", "'sensitivity 95%' missed (0.900"),
        ([MISSED], 3, "undecided", "undecided"),
        ([KEPT], 0, "kept", "optimistic"),
        ([(1.0, math.nan, math.nan)], 8, "undecided", "no interval"),
    ],
)
def test_a_threshold_that_misses_its_aim_elsewhere_is_told(
    reached: list[tuple[float, float, float]], slides: int, finding: str, phrase: str
) -> None:
    verdict = verdicts.aims(
        [Aim("sensitivity 95%", 0.95, Interval(*sensitivity)) for sensitivity in reached], Sampled(slides)
    )
    assert (verdict.finding, verdict.caution) == (finding, finding != "kept")
    assert phrase in verdict.text
