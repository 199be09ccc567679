"""A threshold that is promised keeps its sensitivity on other slides; one that cannot be is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from benchmarks.suites import coverage
from benchmarks.suites.coverage import Corner
from fastpath.analysis import guarantee, intervals, operating_points


def test_of_independent_patches_it_is_clopper_and_pearsons_bound() -> None:
    rng = np.random.default_rng(0)
    labels_N = np.repeat([1, 0], [400, 400])
    logits_N = 2.0 * labels_N + rng.normal(size=800)
    guaranteed = guarantee.guaranteed(labels_N, logits_N, intervals.units_of(None, 800))
    assert guaranteed.point is not None
    hits = int((logits_N[:400] >= guaranteed.point.logit).sum())
    bounds = {number: beta.ppf(0.05, number, 400 - number + 1) for number in (hits - 1, hits)}
    assert bounds[hits - 1] < 0.95 <= bounds[hits]  # the strictest whose lower bound is 95 %
    assert "patches as independent" in guaranteed.words


@pytest.mark.parametrize(("num", "possible"), [(58, False), (59, True)])
def test_it_takes_59_independent_positives(num: int, possible: bool) -> None:
    labels_N = np.repeat([1, 0], [num, 100])
    logits_N = labels_N + np.arange(num + 100) / 1e3
    guaranteed = guarantee.guaranteed(labels_N, logits_N, intervals.units_of(None, num + 100))
    assert (guaranteed.point is not None) == possible
    if not possible:
        assert f"worth 59 independent ones, and those of the calibration part are worth {num}" in guaranteed.words


def test_few_slides_are_worth_few_patches() -> None:
    labels_N, of_N = np.tile([1, 0], 600), np.repeat(np.arange(6), 200)
    shift_N = np.random.default_rng(1).normal(size=6)[of_N]
    logits_N = 3.0 * labels_N + np.random.default_rng(2).normal(size=1200) + 2 * shift_N
    guaranteed = guarantee.guaranteed(labels_N, logits_N, intervals.units_of(of_N, 1200, labels_N))
    assert guaranteed.point is None
    assert guaranteed.worth < 59
    assert "over slides" in guaranteed.words


def test_in_simulated_studies_it_is_kept_where_the_plain_point_misses() -> None:
    corner, rng = Corner(slides=40, prevalence=0.4, auc=0.9, icc=0.3), np.random.default_rng(4)
    others = coverage.draw(corner, np.random.default_rng(99), 4000)
    positives_M = np.sort(others.logits_N[others.labels_N == 1])
    kept: dict[str, list[bool]] = {"plain": [], "assured": []}
    for _ in range(80):
        study = coverage.draw(corner, rng)
        units = intervals.units_of(study.of_N, len(study.of_N), study.labels_N)
        points = operating_points.choose(study.labels_N, study.logits_N)
        plain = next(point for point in points if point.name == "sensitivity 95%")
        assured = guarantee.guaranteed(study.labels_N, study.logits_N, units).point
        for name, point in (("plain", plain), ("assured", assured)):
            if point is not None:
                kept[name].append(1 - np.searchsorted(positives_M, point.logit) / len(positives_M) >= 0.95)
    assert np.mean(kept["plain"]) < 0.75
    assert len(kept["assured"]) > 60
    assert np.mean(kept["assured"]) > 0.87  # .95 falls below this once in some hundred runs
