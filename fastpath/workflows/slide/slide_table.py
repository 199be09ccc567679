"""From a table of patch predictions to slides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fastpath.analysis import slides
from fastpath.analysis.slides import AGGREGATIONS, SlideTable
from fastpath.errors import DataError
from fastpath.runs import output_place, report_table, row_history
from fastpath.system import json_values, tables
from fastpath.text import to_csv

SLIDES, FACTS = "slides.csv", "slides.json"
GROUP_COLUMNS = ("group", "slide", "wsi")
SCORE_COLUMNS = ("calibrated", "probability")  # the first that is there


@dataclass(frozen=True, slots=True)
class TableResult:
    """What the slides of a table came to.

    Attributes:
        num_slides: Slides.
        num_positive: Slides with a positive patch; None where labels are unknown.
        num_patches: Patches.
        auc: By aggregation, between slides with and without a positive patch; None where there is one kind only.
        auc_ends: Both ends of the 95 % interval of each over slides; NaN with fewer than five, or where none errs.
        notices: Why there is no AUC, and what the network has done with these patches.
        output: Where slides.csv and slides.json lie.
    """

    num_slides: int
    num_positive: int | None
    num_patches: int
    auc: dict[str, float] | None
    auc_ends: dict[str, tuple[float, float]] | None
    notices: list[str]
    output: str


def aggregate_table(table: Path, output: Path, *, top_k: int = slides.TOP_K) -> TableResult:
    """Aggregate predictions by slide and write slides.csv and slides.json.

    Args:
        table: A .parquet or .csv with columns `calibrated` or `probability`, one of `GROUP_COLUMNS`, and where known
            `label`.
        output: The directory to write to.
        top_k: Patches that `top_k` averages.

    Raises:
        DataError: The table cannot be read, lacks a column, or holds what is no probability.
    """
    output_place.check_directory(output, FACTS, (table,))
    frame, group, score = _read(table)
    labels = frame["label"] if "label" in frame else pd.Series(-1, index=frame.index)
    labels_N = labels.fillna(-1).to_numpy().astype(np.int8)
    by_slide = slides.by_slide(frame[group].to_numpy(), labels_N, frame[score].to_numpy(), top_k)
    known_G = by_slide.labels_G >= 0
    notices = row_history.of_table(frame)
    aucs = by_slide.auc
    if aucs is None:
        kinds = "no slide is labelled" if not known_G.any() else "all labelled slides are of one kind"
        text = f"{kinds}, so there is no AUC: it needs slides with tumour and slides without"
        notices.append(text)
    result = TableResult(
        num_slides=len(by_slide.names_G),
        num_positive=int((by_slide.labels_G == 1).sum()) if known_G.any() else None,
        num_patches=len(frame),
        auc=None if aucs is None else {name: auc.value for name, auc in aucs.items()},
        auc_ends=None if aucs is None else {name: (auc.low, auc.high) for name, auc in aucs.items()},
        notices=notices,
        output=str(output),
    )
    values = {
        name: getattr(result, name)
        for name in ("num_slides", "num_positive", "num_patches", "auc", "auc_ends", "notices")
    }
    content = {SLIDES: _csv(by_slide), FACTS: (json_values.dumps(values) + "\n").encode()}
    output_place.write_set(output, FACTS, content)
    return result


def _read(table: Path) -> tuple[pd.DataFrame, str, str]:
    """Return the table and the names of the columns that tell slides and probabilities."""
    output_place.check_whole(table)
    frame = report_table.judged_rows(tables.read(table, "give what 'fastpath evaluate' wrote")[0])
    group = next((name for name in GROUP_COLUMNS if name in frame), None)
    if group is None or frame[group].isna().any():
        problem = f"no column {', '.join(GROUP_COLUMNS)}" if group is None else f"patches without a {group}"
        raise DataError(table, f"found {problem}, wanted the slide of each patch", "pack with --groups")
    score = next((name for name in SCORE_COLUMNS if name in frame), None)
    if score is None:
        raise DataError(table, f"found no column {', '.join(SCORE_COLUMNS)}", "give what 'fastpath evaluate' wrote")
    return frame, group, score


def _csv(slide_table: SlideTable) -> bytes:
    rows = []
    for row, name in enumerate(slide_table.names_G):
        label, share = int(slide_table.labels_G[row]), slide_table.positive_share_G[row]
        known = (label, f"{share:.9g}") if label >= 0 else ("", "")
        scores = (f"{slide_table.scores[kind][row]:.9g}" for kind in AGGREGATIONS)
        rows.append((name, slide_table.num_G[row], *known, *scores))
    return to_csv(("slide", "patches", "label", "positive_share", *AGGREGATIONS), rows)
