"""Between-site heterogeneity, against what the R package metafor gives for its own example."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastpath.analysis import heterogeneity

# Thirteen trials of the BCG vaccine (Colditz et al. 1994), metafor's `dat.bcg`: cases and others, vaccinated and not.
BCG_K4 = np.array(
    [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13536, 248, 12619],
        [33, 5036, 47, 5761],
        [180, 1361, 372, 1079],
        [8, 2537, 10, 619],
        [505, 87886, 499, 87892],
        [29, 7470, 45, 7232],
        [17, 1699, 65, 1600],
        [186, 50448, 141, 27197],
        [5, 2493, 3, 2338],
        [27, 16886, 29, 17825],
    ],
    float,
)


def test_a_known_meta_analysis_gives_its_published_numbers() -> None:
    sick, well, sick_other, well_other = BCG_K4.T
    ratio_K = np.log(sick / (sick + well) / (sick_other / (sick_other + well_other)))
    variance_K = 1 / sick - 1 / (sick + well) + 1 / sick_other - 1 / (sick_other + well_other)
    summary = heterogeneity.summarise(ratio_K, np.sqrt(variance_K))
    assert summary is not None
    assert summary.q == pytest.approx(152.2330, abs=1e-3)
    assert summary.p_value < 1e-20
    assert summary.tau.value**2 == pytest.approx(0.3088, abs=1e-4)  # method = "DL"
    assert summary.i_squared.value == pytest.approx(0.9212, abs=1e-4)
    assert (summary.tau.low**2, summary.tau.high**2) == pytest.approx((0.1197, 1.1115), abs=1e-4)  # confint()
    assert summary.mean.value == pytest.approx(-0.7141, abs=1e-4)
    assert summary.next_low < summary.mean.low < summary.mean.high < summary.next_high


def test_sites_that_are_alike_differ_by_chance_alone() -> None:
    rng, inside = np.random.default_rng(1), []
    for _ in range(400):
        errors_K = rng.uniform(0.1, 0.4, 6)
        summary = heterogeneity.summarise(2 + errors_K * rng.normal(size=6), errors_K)
        assert summary is not None
        inside.append([summary.p_value > 0.05, summary.tau.low == 0, summary.mean.low < 2 < summary.mean.high])
    by_chance, none, covered = np.mean(inside, axis=0)
    assert by_chance == pytest.approx(0.95, abs=0.03)
    assert none == pytest.approx(0.975, abs=0.03)
    assert covered > 0.94  # Student's quantile is cautious where sites are alike


def test_a_spread_between_sites_is_found_and_the_next_site_lies_within_it() -> None:
    rng, inside = np.random.default_rng(2), []
    for _ in range(400):
        errors_K = rng.uniform(0.1, 0.3, 8)
        truth_K = rng.normal(2, 0.5, 9)
        summary = heterogeneity.summarise(truth_K[:8] + errors_K * rng.normal(size=8), errors_K)
        assert summary is not None
        inside.append([summary.tau.low < 0.5 < summary.tau.high, summary.next_low < truth_K[8] < summary.next_high])
    assert np.mean(inside, axis=0) == pytest.approx([0.95, 0.95], abs=0.03)


def test_what_has_no_error_is_left_out() -> None:
    assert heterogeneity.summarise([1.0, math.inf], [0.1, 0.1]) is None
    assert heterogeneity.summarise([1.0, 2.0], [0.1, math.nan]) is None
    pair = heterogeneity.summarise([1.0, 2.0, 3.0], [0.1, 0.1, 0.0])
    assert pair is not None
    assert pair.num == 2
    assert math.isnan(pair.next_low)
