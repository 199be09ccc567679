"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from fastpath.analysis import decision
from fastpath.analysis.gallery import MEANINGS
from fastpath.analysis.intervals import Interval
from fastpath.figures import score_figures
from fastpath.figures.page import embed as embed_png
from fastpath.runs.report_table import ScoredTable
from fastpath.workflows.evaluate.report_facts import Evaluation
from fastpath.workflows.evaluate.report_gallery import Card


def draw_report(table: ScoredTable, evaluation: Evaluation) -> dict[str, bytes]:
    """Return PNG files by name: of all patches that are judged before calibration, of the held part after it."""
    assert table.is_calibration_N is not None
    calibrated_N, table = evaluation.calibrated_N[table.judged_N], table.judged_part()
    assert table.is_calibration_N is not None
    tests, labels_N = ~table.is_calibration_N, table.labels_N
    after_N = calibrated_N[tests]
    pictures = {
        "roc": score_figures.roc(labels_N, table.logits_N, _interval(evaluation, "auc"), _points(evaluation)),
        "precision_recall": score_figures.precision_recall(
            labels_N, table.logits_N, _interval(evaluation, "average_precision")
        ),
        "reliability": score_figures.reliability(labels_N[tests], table.logits_N[tests], after_N, table.units(tests)),
        "histogram": score_figures.histogram(labels_N[tests], after_N),
        "decision_curve": score_figures.decision_curve(labels_N[tests], after_N),
    }
    if table.spread_N is not None:
        wrong_N = (table.logits_N >= 0) != (labels_N == 1)
        curves = {
            "D4 spread": decision.risk_coverage(wrong_N, table.spread_N),
            "nearness to 0.5": decision.risk_coverage(wrong_N, -np.abs(table.logits_N)),
        }
        pictures["risk_coverage"] = score_figures.risk_coverage(curves)
    return pictures


def _points(evaluation: Evaluation) -> list[tuple[float, float]]:
    """Return false positive rate and sensitivity of every operating point, on the patches that did not choose it."""
    points = evaluation.facts["operating_points"]
    return [(1 - result["specificity"]["value"], result["sensitivity"]["value"]) for result in points]


def _interval(evaluation: Evaluation, name: str) -> Interval:
    result = evaluation.facts["intervals"][name]
    return Interval(*(np.nan if result[key] is None else result[key] for key in ("value", "low", "high")))


def embed(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """Return the gallery by category, as the page shows it."""
    return [
        {
            "category": category,
            "meaning": MEANINGS[category],
            "cards": [
                {
                    **card.facts,
                    "patch": embed_png(card.patch),
                    "attributed": None if card.attributed is None else embed_png(card.attributed),
                }
                for card in members
            ],
        }
        for category, members in groupby(cards, key=lambda card: str(card.facts["category"]))
    ]
