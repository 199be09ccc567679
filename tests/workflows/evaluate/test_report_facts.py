"""The numbers of a report, each against a computation of its own, and that the held half decides nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fastpath.analysis import delong, measures, metrics, operating_points
from fastpath.errors import UsageError
from fastpath.figures import page as report_html
from fastpath.runs import report_table
from fastpath.runs.report_table import ScoredTable
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, evaluate_scores

CHOICES = EvaluateOptions(prevalence=0.02, seed=3)


def _table(num: int = 400, num_slides: int = 8, seed: int = 0) -> ScoredTable:
    """Scores of some worth, with slides and the scores of a single view; divided."""
    rng = np.random.default_rng(seed)
    labels_N = (rng.random(num) < 0.4).astype(np.int8)
    logits_N = 2.0 * labels_N - 1 + rng.normal(0, 1.5, num)
    scored = ScoredTable(
        ids_N=np.array([f"p{row}" for row in range(num)], object),
        labels_N=labels_N,
        logits_N=logits_N,
        groups_N=np.array([f"s{row % num_slides}" for row in range(num)], object),
        plain_N=logits_N + rng.normal(0, 0.5, num),
        spread_N=rng.random(num) / 4,
    )
    return report_table.divide(scored, CHOICES.seed)[0]


@pytest.fixture(scope="module")
def table() -> ScoredTable:
    return _table()


@pytest.fixture(scope="module")
def facts(table: ScoredTable) -> dict[str, Any]:
    return evaluate_scores(table, CHOICES).facts


def test_each_slide_is_counted_by_itself(table: ScoredTable, facts: dict[str, Any]) -> None:
    calibrated_N = evaluate_scores(table, CHOICES).calibrated_N
    assert table.groups_N is not None
    assert table.is_calibration_N is not None
    columns = {"slide": table.groups_N, "label": table.labels_N, "logit": calibrated_N, "fits": table.is_calibration_N}
    frame = pd.DataFrame(columns)
    rows = {row["slide"]: row for row in facts["slides"]}
    assert list(rows) == sorted(set(table.groups_N))
    for name, own in frame.groupby("slide"):
        row, called = rows[name], own.logit >= 0
        assert own.fits.nunique() == 1  # halves hold whole slides
        assert row["part"] == ("calibration half" if own.fits.all() else "held half")
        assert (row["num_patches"], row["num_positive"]) == (len(own), own.label.sum())
        assert row["auc"] == pytest.approx(roc_auc_score(own.label, own.logit))
        assert row["mean_probability"] == pytest.approx((1 / (1 + np.exp(-own.logit))).mean())
        assert row["false_positive"] == (called & (own.label == 0)).sum()
        assert row["false_negative"] == (~called & (own.label == 1)).sum()


def test_predictive_values_follow_bayes_at_the_prevalence_asked(facts: dict[str, Any]) -> None:
    assert facts["prevalence"]["asked"] == 0.02
    for point in facts["operating_points"]:
        sensitivity, passed = point["sensitivity"]["value"], point["specificity"]["value"]
        called, spared = 0.02 * sensitivity + 0.98 * (1 - passed), 0.98 * passed + 0.02 * (1 - sensitivity)
        assert point["ppv_at_prevalence"] == (pytest.approx(0.02 * sensitivity / called) if called else None)
        assert point["npv_at_prevalence"] == (pytest.approx(0.98 * passed / spared) if spared else None)


@pytest.mark.parametrize("prevalence", [-1.0, 2.0, math.nan])
def test_a_prevalence_that_is_no_share_is_refused(prevalence: float) -> None:
    with pytest.raises(UsageError, match="wanted a share from 0 to 1"):
        EvaluateOptions(prevalence=prevalence)
    with pytest.raises(UsageError, match="wanted a share from 0 to 1"):
        operating_points.predictive_values(0.9, 0.9, prevalence)


def test_neither_calibration_nor_threshold_knows_the_held_half(table: ScoredTable, facts: dict[str, Any]) -> None:
    assert table.is_calibration_N is not None
    labels_N, logits_N = table.labels_N.copy(), table.logits_N.copy()
    labels_N[~table.is_calibration_N] = 1 - labels_N[~table.is_calibration_N]
    logits_N[~table.is_calibration_N] += 1.0
    other = evaluate_scores(replace(table, labels_N=labels_N, logits_N=logits_N), CHOICES).facts
    assert other["auc"] != facts["auc"]
    for ours, theirs in zip(facts["operating_points"], other["operating_points"], strict=True):
        assert (ours["name"], ours["probability"]) == (theirs["name"], theirs["probability"])
    for name, method in facts["calibration"]["methods"].items():
        assert method["map"] == other["calibration"]["methods"][name]["map"], name


def test_delongs_interval_and_the_bootstraps_tell_of_the_same_auc(table: ScoredTable, facts: dict[str, Any]) -> None:
    auc, error = facts["delong"]["value"], facts["delong"]["standard_error"]
    assert auc == facts["auc"] == pytest.approx(roc_auc_score(table.labels_N, table.logits_N))
    assert error == pytest.approx(math.sqrt(delong.variance(table.labels_N, table.logits_N)))
    low, high = facts["delong"]["low"], facts["delong"]["high"]
    assert low < auc < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)  # on the logit scale, hardly another width
    # These patches are independent, so resampling them one by one must give much the same.
    alone = evaluate_scores(replace(table, groups_N=None), CHOICES).facts
    assert alone["resampling"]["optimistic"]
    assert not facts["resampling"]["optimistic"]
    width = alone["intervals"]["auc"]["high"] - alone["intervals"]["auc"]["low"]
    assert width == pytest.approx(high - low, rel=0.15)


def test_eight_views_are_set_against_one_and_their_spread_against_errors(
    table: ScoredTable, facts: dict[str, Any]
) -> None:
    tta = facts["tta"]
    assert tta["plain_auc"] == pytest.approx(roc_auc_score(table.labels_N, table.plain_N))
    assert tta["auc_gain"]["difference"] == pytest.approx(facts["auc"] - tta["plain_auc"])
    wrong_N = (table.logits_N >= 0) != (table.labels_N == 1)
    assert tta["error_rate"] == wrong_N.mean()
    for name, doubt_N in (("D4 spread", table.spread_N), ("nearness to 0.5", -np.abs(table.logits_N))):
        assert doubt_N is not None
        errors_of_surest = [wrong_N[doubt_N <= level].mean() for level in doubt_N]
        assert tta["risk_area"][name] == pytest.approx(np.mean(errors_of_surest)), name


def test_every_stop_of_the_slider_is_a_count_of_the_held_half(table: ScoredTable, facts: dict[str, Any]) -> None:
    assert table.is_calibration_N is not None
    tests = ~table.is_calibration_N
    probability_N = metrics.probabilities(evaluate_scores(table, CHOICES).calibrated_N[tests])
    labels_N = table.labels_N[tests]
    for threshold, hits, alarms in facts["slider"][:: len(facts["slider"]) // 9]:
        called_N = probability_N >= threshold
        assert (hits, alarms) == ((called_N & (labels_N == 1)).sum(), (called_N & (labels_N == 0)).sum())


@pytest.mark.parametrize(("num_slides", "unit"), [(8, "slide"), (4, "patch")])
def test_the_unit_of_the_whole_table_is_that_of_every_part(num_slides: int, unit: str) -> None:
    table = _table(num_slides=num_slides)
    assert table.is_calibration_N is not None
    facts = evaluate_scores(table, CHOICES).facts
    assert facts["resampling"]["unit"] == unit
    for part in facts["parts"].values():
        assert part["resampling"]["unit"] == unit
        assert part["resampling"]["optimistic"] == (unit == "patch")
        assert part["resampling"]["num_units"] == (part["num_slides"] if unit == "slide" else part["num_patches"])
    about = {"notices": [], "table": "t", "tta_views": "none"}
    pictures = dict.fromkeys(("roc", "precision_recall", "reliability", "histogram", "decision_curve"), bytes(32))
    page = report_html.render(facts | about, pictures, "evaluate.html", cards=[], tiles=measures.TILES)
    held = facts["parts"]["held"]["resampling"]["num_units"]
    assert page.count(f"intervals by {held} {unit}") == 3


@pytest.mark.parametrize("measure", measures.MEASURES, ids=lambda measure: measure.name)
def test_a_row_of_the_measures_is_a_value_with_an_interval_and_a_tile(
    measure: measures.Measure, facts: dict[str, Any]
) -> None:
    assert all(math.isfinite(facts["intervals"][measure.name][end]) for end in ("value", "low", "high"))
    about = {"notices": [], "table": "t", "tta_views": "none"}
    pictures = dict.fromkeys(("roc", "precision_recall", "reliability", "histogram", "decision_curve"), bytes(32))
    page = report_html.render(facts | about, pictures, "evaluate.html", cards=[], tiles=measures.TILES)
    tile = f"</b>{measure.title}<span>"
    assert page.count(tile) == page.count(f"<span>{measure.meaning}</span>") == int(measure.tile)


def test_a_share_of_few_slides_is_no_surer_than_these_slides() -> None:
    """One of eight slides is read the wrong way round: patches of the half that holds it are far from independent."""
    table = _table(num=800)
    assert table.groups_N is not None
    assert table.is_calibration_N is not None
    poor_N = table.groups_N == table.groups_N[~table.is_calibration_N][0]
    table = replace(table, logits_N=np.where(poor_N, -1.0, 1.0) * np.abs(table.logits_N) * (2 * table.labels_N - 1))
    by_slide = evaluate_scores(table, CHOICES).facts["operating_points"][0]["sensitivity"]
    by_patch = evaluate_scores(replace(table, groups_N=None), CHOICES).facts["operating_points"][0]["sensitivity"]
    assert by_slide["high"] - by_slide["low"] > 3 * (by_patch["high"] - by_patch["low"])


def test_tumour_in_few_slides_is_told_where_it_makes_intervals_too_narrow() -> None:
    table = _table(num=600, num_slides=24)
    assert table.groups_N is not None
    assert not evaluate_scores(table, CHOICES).facts["resampling"]["too_narrow"]
    labels_N = np.where(np.isin(table.groups_N, ["s0", "s1", "s2", "s3"]), table.labels_N, 0).astype(np.int8)
    few = report_table.divide(replace(table, labels_N=labels_N, is_calibration_N=None), CHOICES.seed)[0]
    warning = evaluate_scores(few, CHOICES).facts["resampling"]["too_narrow"]
    assert warning.startswith("the tumour patches lie in what is worth ")
    assert "Brier score" in warning


def test_a_threshold_is_promised_where_positives_are_worth_enough_and_else_it_is_said() -> None:
    """By slide the calibration half of 8 slides promises nothing; many independent patches do."""
    many = replace(_table(num=1600, num_slides=8), groups_N=None)
    facts = evaluate_scores(many, CHOICES).facts
    assert [point["name"] for point in facts["operating_points"]][-1] == "95% sensitivity, assured"
    assert "95% confidence, taking patches as independent" in facts["guarantee"]
    few = evaluate_scores(_table(num=60, num_slides=60), CHOICES).facts
    assert "assured" not in str([point["name"] for point in few["operating_points"]])
    assert few["guarantee"].startswith("no threshold can be promised")
