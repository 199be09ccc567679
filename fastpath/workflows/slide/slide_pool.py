"""The free-response ROC of a set of slides, from what `fastpath slide` left of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastpath.analysis import froc
from fastpath.analysis.intervals import Interval
from fastpath.analysis.slides import auc_interval
from fastpath.errors import DataError
from fastpath.runs import output_place
from fastpath.system import json_values
from fastpath.system.litter import is_litter
from fastpath.text import to_csv
from fastpath.workflows.slide import slide_progress

CURVE, FACTS = "froc.csv", "pool.json"
SCORES = ("max", "mean", "top_k")
"""Scores of a slide whose AUC is told; the noisy-or of slide.json rounds to 1 on most slides, so it ranks nothing."""

_SAME = ("tile_px", "stride_px", "calibration")
"""What must be alike for probabilities of two slides to be put side by side."""


@dataclass(frozen=True, slots=True)
class PoolResult:
    """What a set of slides came to.

    Attributes:
        num_slides: Slides.
        num_normal: Of these, without a lesion to find.
        num_lesions: Lesions to be found, isolated tumour cells not counted.
        froc_score: Mean sensitivity at the rates below.
        froc_low: Lower end of its 95 % interval over slides; NaN with fewer than five.
        froc_high: Upper end.
        sensitivity_at: Sensitivity by false alarms a slide.
        auc: By score of a slide, between slides with and without a lesion; None where there is one kind only.
        auc_ends: Both ends of the 95 % interval of each over slides; NaN with fewer than five, or where none errs.
        notices: What the slides' own notices say of training.
        output: Where pool.json and froc.csv lie.
    """

    num_slides: int
    num_normal: int
    num_lesions: int
    froc_score: float
    froc_low: float
    froc_high: float
    sensitivity_at: dict[float, float]
    auc: dict[str, float] | None
    auc_ends: dict[str, tuple[float, float]] | None
    notices: list[str]
    output: str


def pool_slides(folder: Path, output: Path) -> PoolResult:
    """Pool the detections of all slides below a folder and write pool.json and froc.csv.

    Args:
        folder: Holds a directory a slide, each with a slide.json.
        output: The directory to write to.

    Raises:
        DataError: There are no slides, one was scored without lesions or otherwise than the first, or none has a
            lesion to find.
    """
    output_place.check_directory(output, FACTS, (folder,))
    _check_whole(folder)
    paths = sorted(path for path in folder.glob("*/slide.json") if not is_litter(path.parent.name))
    if not paths:
        problem = "found no */slide.json, wanted a directory a slide"
        raise DataError(folder, problem, "give the folder that holds what 'fastpath slide -o' wrote")
    slides = [_read(path) for path in paths]
    for path, pooled in zip(paths, slides, strict=True):
        for name in _SAME:
            if pooled[name] != slides[0][name]:
                problem = f"found {name} {pooled[name]}, wanted {slides[0][name]} as in {paths[0]}"
                raise DataError(path, problem, "score all slides alike")
    hits = [_hits(pooled["lesions"]) for pooled in slides]
    curve, score, aucs = froc.froc(hits), froc.score_interval(hits), _aucs(slides)
    result = PoolResult(
        num_slides=len(slides),
        num_normal=sum(pooled["lesions"]["num_lesions"] == 0 for pooled in slides),
        num_lesions=curve.num_lesions,
        froc_score=curve.score,
        froc_low=score.low,
        froc_high=score.high,
        sensitivity_at=curve.sensitivity_at,
        auc=None if aucs is None else {name: pooled.value for name, pooled in aucs.items()},
        auc_ends=None if aucs is None else {name: (pooled.low, pooled.high) for name, pooled in aucs.items()},
        notices=_history_notices(slides),
        output=str(output),
    )
    facts = {key: value for key, value in asdict(result).items() if key != "output"}
    content = {CURVE: _csv(curve), FACTS: (json_values.dumps(facts) + "\n").encode()}
    output_place.write_set(output, FACTS, content)
    return result


def _check_whole(folder: Path) -> None:
    """Refuse to leave out a slide that is still to be scored: the curve would be of the others alone."""
    for name in (slide_progress.NAME, "tiles.parquet"):
        for path in sorted(folder.glob(f"*/{name}")):
            if not path.with_name("slide.json").exists():
                raise DataError(path.parent, "lacks slide.json: its scoring was cut short", "score that slide again")
    try:
        rows = json.loads((folder / "scored.json").read_text(encoding="utf-8"))["slides"]
        failed = [str(row["slide"]) for row in rows if row["status"] == "failed"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if failed:
        problem = f"found {len(failed)} slides that have no score: {', '.join(failed[:5])}"
        raise DataError(folder / "scored.json", problem, "score them again, or all others in a call without them")


def _read(path: Path) -> dict[str, Any]:
    """Return what is known of a slide, lesions included."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lesions = document["lesions"]
        complete = lesions is None or {"lesion_scores", "false_alarms"} <= set(lesions)
        complete = complete and all(name in document for name in (*_SAME, "scores"))
    except (OSError, ValueError, KeyError, TypeError):
        complete, lesions = False, {}
    if not complete:
        raise DataError(path, "is not what 'fastpath slide' writes", "score that slide again")
    if lesions is None:
        remedy = "score that slide with --lesions FILE, or with --lesions none where it is known to hold no tumour"
        raise DataError(path, "found no lesions, wanted those of every slide", remedy)
    return document


def _history_notices(slides: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how many slides were scored by a network that knew them, or may have."""
    notices = [str(slide.get("notice", "")) for slide in slides]
    kinds = {
        "nothing tells whether patches": "nothing tells whether patches of {} slides were trained on",
        "were trained on: no number": "{} slides were trained on: these numbers are optimistic",
        "chose the epoch": "{} slides chose the epoch: these numbers are optimistic",
    }
    numbers = {mark: sum(mark in notice for notice in notices) for mark in kinds}
    return [kinds[mark].format(f"{num} of {len(slides)}") for mark, num in numbers.items() if num]


def _hits(lesions: Mapping[str, Any]) -> froc.Hits:
    best = [-np.inf if score is None else score for score in lesions["lesion_scores"]]
    return froc.Hits(np.array(best, np.float64), np.array(lesions["false_alarms"], np.float64))


def _aucs(slides: Sequence[Mapping[str, Any]]) -> dict[str, Interval] | None:
    labels_G = np.array([slide["lesions"]["num_lesions"] > 0 for slide in slides])
    if labels_G.all() or not labels_G.any():
        return None
    return {name: auc_interval(labels_G, np.array([slide["scores"][name] for slide in slides])) for name in SCORES}


def _csv(curve: froc.Froc) -> bytes:
    rows = zip(curve.thresholds_T, curve.rates_T, curve.sensitivity_T, strict=True)
    columns = ("threshold", "false_alarms_per_slide", "sensitivity")
    return to_csv(columns, ([f"{value:.9g}" for value in row] for row in rows))
