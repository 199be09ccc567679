"""Intervals of few slides, of which few hold tumour, hold the truth as often as they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.suites import coverage
from benchmarks.suites.coverage import Corner


def test_a_few_studies_in_a_hard_corner_hold_the_truth() -> None:
    shares = coverage.coverage(Corner(slides=8, prevalence=0.1, auc=0.98, icc=0.3), studies=40)["coverage"]
    for name in ("auc", "ppv", "sensitivity"):
        assert shares[name] >= 0.82, shares  # .95 falls below this once in some hundred runs of 40


def test_a_table_marks_what_is_outside_by_more_than_chance() -> None:
    names = [*coverage.NAMES, "sensitivity", "specificity", "ppv"]
    shares = dict.fromkeys(names, 0.95) | {"auc": 0.90, "ppv": None}
    covered = {"coverage": shares, "defined": dict.fromkeys(names, 400)}
    row = coverage.table_of({Corner(8, 0.1, 0.7, 0.3): covered}).splitlines()[2]
    assert row.startswith("| 8 | 0.1 | 0.7 | 0.3 | **0.900** | 0.950 |")
    assert row.endswith(" |  |")


@pytest.mark.slow
@pytest.mark.parametrize("corner", list(itertools.product((8,), coverage.PREVALENCES, coverage.AUCS, coverage.ICCS)))
def test_the_interval_of_an_auc_covers_from_eight_slides_up(corner: tuple[int, float, float, float]) -> None:
    covered = coverage.coverage(Corner(*corner), studies=400)
    share, chance = covered["coverage"]["auc"], 2.5 * np.sqrt(0.95 * 0.05 / covered["defined"]["auc"])
    assert coverage.LOW - chance <= share <= coverage.HIGH + chance
