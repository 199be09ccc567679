"""What calibration came to, in words that never say more than the interval does."""

from __future__ import annotations

import math

import pytest

from fastpath.analysis import calibration_verdicts as verdicts
from fastpath.analysis.calibration import IDENTITY, Calibrator
from fastpath.analysis.intervals import Interval
from fastpath.analysis.verdicts import Sampled

PLATT, LEFT_OUT = Calibrator("platt", 0.8, 0.1), Calibrator("platt", kept=False)


@pytest.mark.parametrize(
    ("used", "change", "slides", "finding", "caution", "phrase"),
    [
        (PLATT, (-0.05, -0.08, -0.02), 8, "better", False, "it helped (platt changes the log loss of 750 patches by"),
        (PLATT, (-0.05, -0.08, -0.02), 0, "better", False, "slides are unknown, so the interval is optimistic"),
        (PLATT, (-0.05, -0.08, -0.02), 4, "undecided", True, "patches are of 4 of the at least 5 slides wanted"),
        (PLATT, (0.02, 0.01, 0.03), 8, "worse", True, "it made these patches worse"),
        (PLATT, (0.002, -0.004, 0.008), 8, "undecided", True, "cannot tell whether it helps"),
        (PLATT, (-0.002, -0.008, 0.004), 8, "undecided", False, "-0.0020, 95 % interval -0.0080 to +0.0040"),
        (PLATT, (-0.002, math.nan, math.nan), 8, "undecided", False, "no interval"),
        (LEFT_OUT, (0, math.nan, math.nan), 8, "not applied", True, "probabilities are as the network gives them"),
        (IDENTITY, (0, math.nan, math.nan), 8, "none", False, "none was asked for"),
    ],
)
def test_a_calibration_helped_only_where_the_interval_says_so(
    used: Calibrator, change: tuple[float, float, float], slides: int, finding: str, caution: bool, phrase: str
) -> None:
    verdict = verdicts.gain(used, Interval(*change), 750, Sampled(slides))
    assert (verdict.finding, verdict.caution) == (finding, caution)
    assert phrase in verdict.text


@pytest.mark.parametrize(
    ("before", "after", "slides", "finding", "caution", "phrase"),
    [
        (
            (0.4, 0.3, 0.5),
            (1.0, 0.9, 1.1),
            8,
            "agrees",
            False,
            "before calibration 0.400, 95 % interval 0.300 to 0.500",
        ),
        ((0.4, 0.3, 0.5), (0.8, 0.7, 0.9), 8, "too high", True, "probabilities promise more tumour than there is"),
        ((0.4, 0.3, 0.5), (1.3, 1.1, 1.5), 8, "too low", True, "there is more tumour than probabilities promise"),
        ((0.4, 0.3, 0.5), None, 8, "too high", True, "observed over expected 0.400"),
        ((0.4, 0.3, 0.5), (1.0, 0.9, 1.1), 3, "undecided", True, "patches are of 3 of the at least 5 slides wanted"),
        ((1.0, math.nan, math.nan), None, 8, "undecided", True, "cannot tell"),
    ],
)
def test_probabilities_are_right_on_the_whole_unless_the_interval_leaves_out_one(
    before: tuple[float, float, float],
    after: tuple[float, float, float] | None,
    slides: int,
    finding: str,
    caution: bool,
    phrase: str,
) -> None:
    verdict = verdicts.in_the_large(Interval(*before), None if after is None else Interval(*after), Sampled(slides))
    assert (verdict.finding, verdict.caution) == (finding, caution)
    assert phrase in verdict.text
    if after is None:
        assert "before calibration" not in verdict.text
