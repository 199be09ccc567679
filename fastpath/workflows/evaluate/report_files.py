"""The files of a report, put in place together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastpath.analysis import measures
from fastpath.analysis.verdicts import Verdict
from fastpath.figures import page as report_html
from fastpath.runs import output_place, report_table
from fastpath.runs.report_table import ScoredTable
from fastpath.system.json_values import plain
from fastpath.workflows.evaluate import report_gallery, report_pictures
from fastpath.workflows.evaluate.report_facts import Evaluation
from fastpath.workflows.evaluate.report_gallery import Card

METRICS, PREDICTIONS, REPORT, GALLERY = "metrics.json", "predictions.parquet", "report.html", "gallery.csv"
GALLERY_NUM = 8  # patches a category


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """How good predictions are.

    Attributes:
        facts: What metrics.json holds.
        num_patches: Patches judged: of a test split, those of the test split alone.
        auc: Area under the ROC curve of all of these.
        notices: What the reader of the numbers should know.
        verdicts: What the numbers come to, in words.
        output: Where metrics.json, predictions.parquet, report.html and gallery.csv lie.
    """

    facts: dict[str, Any]
    num_patches: int
    auc: float
    notices: list[str]
    verdicts: list[Verdict]
    output: str


def write(
    output: Path,
    *,
    scored: ScoredTable,
    evaluation: Evaluation,
    about: dict[str, Any],
    cards: list[Card],
    more: Mapping[str, bytes] | None = None,
) -> EvaluateResult:
    """Write the files as a set, `more` of them too: metrics.json means that all are there, and of this evaluation."""
    facts = plain({**about, **evaluation.facts})
    pictures = report_pictures.draw_report(scored, evaluation)
    page = report_html.render(
        facts, pictures, "evaluate.html", cards=report_pictures.embed(cards), tiles=measures.TILES
    )
    content = {**(more or {}), PREDICTIONS: report_table.to_parquet(scored, evaluation.calibrated_N)}
    content[REPORT] = page.encode()
    if cards:
        content[GALLERY] = report_gallery.to_csv(cards)
    content[METRICS] = (json.dumps(facts, indent=2) + "\n").encode()
    output_place.write_set(output, METRICS, content)
    return EvaluateResult(
        facts=facts,
        num_patches=facts["num_patches"],
        auc=facts["auc"],
        notices=facts["notices"],
        verdicts=evaluation.verdicts,
        output=str(output),
    )
