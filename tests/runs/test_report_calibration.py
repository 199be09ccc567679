"""What a report says of calibration: counts by hand, on the half that it was not fitted on, and in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastpath.analysis import measures, metrics
from fastpath.figures import page as report_html
from fastpath.runs import report_table
from fastpath.runs.report_table import ScoredTable
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, Evaluation, evaluate_scores

NUM, NUM_SLIDES = 1000, 20


def _table(prevalence: float, offset: float = 0.0, seed: int = 0) -> ScoredTable:
    """Scores that are right where half of all patches are tumour, as balanced sampling leaves them; divided."""
    rng = np.random.default_rng(seed)
    labels_N = (rng.random(NUM) < prevalence).astype(np.int8)
    scored = ScoredTable(
        ids_N=np.array([f"p{row}" for row in range(NUM)], object),
        labels_N=labels_N,
        logits_N=5.4 * (labels_N - 0.5) + 2.33 * rng.normal(size=NUM) + offset,
        groups_N=np.array([f"s{row % NUM_SLIDES}" for row in range(NUM)], object),
    )
    return report_table.divide(scored, seed)[0]


def _verdicts(evaluation: Evaluation) -> dict[str, tuple[str, bool]]:
    return {
        verdict["about"]: (verdict["finding"], verdict["caution"])
        for verdict in evaluation.facts["calibration"]["verdicts"]
    }


@pytest.mark.parametrize("prevalence", [0.2, 0.1])
def test_the_default_makes_observed_over_expected_right_and_says_so(prevalence: float) -> None:
    table = _table(prevalence)
    assert table.is_calibration_N is not None
    held_N = ~table.is_calibration_N
    evaluation = evaluate_scores(table, EvaluateOptions())
    used = evaluation.facts["calibration"]["methods"]["platt"]
    raw = evaluation.facts["calibration"]["methods"]["none"]
    observed = (table.labels_N[held_N] == 1).sum()
    for method, logits_N in ((raw, table.logits_N), (used, evaluation.calibrated_N)):
        wanted = observed / metrics.probabilities(logits_N[held_N]).sum()
        assert method["held"]["observed_over_expected"] == pytest.approx(wanted)
        assert method["intervals"]["observed_over_expected"]["value"] == pytest.approx(wanted)
        shifted_N = logits_N[held_N] + method["held"]["calibration_intercept"]
        assert metrics.probabilities(shifted_N).sum() == pytest.approx(observed)
    assert raw["intervals"]["observed_over_expected"]["high"] < 1
    after = used["intervals"]["observed_over_expected"]
    assert after["low"] < 1 < after["high"]
    assert _verdicts(evaluation) == {"calibration": ("better", False), "calibration in the large": ("agrees", False)}


def test_a_temperature_that_leaves_too_many_expected_is_told() -> None:
    evaluation = evaluate_scores(_table(0.1), EvaluateOptions(method="temperature"))
    assert _verdicts(evaluation)["calibration in the large"] == ("too high", True)


def test_a_calibration_that_made_the_held_half_worse_is_told() -> None:
    """Slides of the other half are scored two higher: what is fitted on one half is wrong on the other."""
    table = _table(0.4)
    assert table.is_calibration_N is not None
    table = replace(table, logits_N=table.logits_N + np.where(table.is_calibration_N, 3.0, 0.0))
    evaluation = evaluate_scores(table, EvaluateOptions())
    assert _verdicts(evaluation) == {"calibration": ("worse", True), "calibration in the large": ("too low", True)}
    about = {"notices": [], "table": "t", "tta_views": "none"}
    pictures = dict.fromkeys(("roc", "precision_recall", "reliability", "histogram", "decision_curve"), bytes(32))
    page = report_html.render(evaluation.facts | about, pictures, "evaluate.html", cards=[], tiles=measures.TILES)
    assert "<b>Calibration (caution):</b> it made these patches worse" in page


def test_scores_that_were_right_leave_it_open() -> None:
    evaluation = evaluate_scores(_table(0.5), EvaluateOptions())
    assert _verdicts(evaluation)["calibration"][0] == "undecided"


def test_without_a_calibration_the_scores_themselves_are_judged() -> None:
    evaluation = evaluate_scores(_table(0.1), EvaluateOptions(method="none"))
    assert _verdicts(evaluation) == {"calibration": ("none", False), "calibration in the large": ("too high", True)}
