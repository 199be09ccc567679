"""Every number of a report, as plain values: what metrics.json holds and the page shows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import (
    calibration,
    decision,
    delong,
    intervals,
    measures,
    metrics,
    operating_points,
    paired,
)
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.analysis.combine import Mean
from fastpath.analysis.intervals import Units
from fastpath.analysis.verdicts import Verdict
from fastpath.runs import report_calibration
from fastpath.runs.chosen import Chosen, choose
from fastpath.runs.report_table import Floats, ScoredTable
from fastpath.system.json_values import plain
from fastpath.types import Tta
from fastpath.workflows.evaluate import report_verdicts

THRESHOLD = 0.5
SLIDER_STEPS = 200


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the reader decides.

    Attributes:
        method: The calibration that is used.
        prevalence: Share of positives, 0 to 1, for which PPV and NPV are also told; None tells none.
        miss_cost: Cost of a missed positive, in false alarms.
        seed: Decides division, resamples and random draws.
        tta: Views a patch is scored in.
        mean: What is averaged over views.
        by: Columns of the store's index, and tables with a column `id`, whose values make subgroups.

    Raises:
        UsageError: The prevalence is no share.
    """

    method: Method = calibration.DEFAULT
    prevalence: float | None = None
    miss_cost: float = operating_points.MISS_COST
    seed: int = 42
    tta: Tta = "none"
    mean: Mean = "logits"
    by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.prevalence is not None:
            operating_points.check_prevalence(self.prevalence)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A table with all that was found out about it.

    Attributes:
        facts: Plain values.
        fitted: The three calibrations.
        calibrated_N: float64, logits of all patches after the chosen one.
        verdicts: What the numbers come to, in words.
    """

    facts: dict[str, Any]
    fitted: dict[Method, Calibrator]
    calibrated_N: Floats
    verdicts: list[Verdict]


def evaluate_scores(table: ScoredTable, options: EvaluateOptions, chosen: Chosen | None = None) -> Evaluation:
    """Measure a divided table.

    Discrimination and calibration as they are: on all patches that are judged. After calibration and at operating
    points: on the held part alone, which neither was chosen on.

    Args:
        table: Checked and divided.
        options: What the reader decides.
        chosen: Calibrations and thresholds; None chooses them on the calibration part. Where they were chosen
            elsewhere, no patch calibrates.
    """
    assert table.is_calibration_N is not None
    fits, tests = table.is_calibration_N, ~table.is_calibration_N
    chosen = chosen or choose(table, options.method, options.miss_cost)
    calibrated_N = chosen.used.apply(table.logits_N)
    evaluation, units = table.judged_part(), table.units(table.judged_N)
    calibrating, held = table.part_names
    calibrated, verdicts = report_calibration.describe(table, chosen, table.units(tests), options.seed)
    facts: dict[str, Any] = {
        **_headline(evaluation),
        "intervals": measures.with_intervals(evaluation.labels_N, evaluation.logits_N, units, options.seed),
        "delong": _delong(evaluation),
        "resampling": _resampling(units),
        "parts": {"calibration": _part(table, fits, calibrating), "held": _part(table, tests, held)},
        "calibration": calibrated,
        "operating_points": _points(table, calibrated_N, chosen, options),
        "guarantee": chosen.guarantee,
        "prevalence": {"study": float((table.labels_N[tests] == 1).mean()), "asked": options.prevalence},
        "miss_cost": options.miss_cost,
        "slider": _slider(table, calibrated_N, chosen),
        "net_benefit": decision.net_benefits(table.labels_N[tests], calibrated_N[tests], table.units(tests)),
        "slides": _slides(evaluation, calibrated_N[table.judged_N]),
        "tta": _tta(evaluation),
        "seed": options.seed,
    }
    plain_facts = plain(facts)
    plain_facts["summary"] = report_verdicts.summary(plain_facts)
    verdicts = [*report_verdicts.of_report(plain_facts), *verdicts]
    return Evaluation(plain_facts | {"verdicts": plain(verdicts)}, chosen.fitted, calibrated_N, verdicts)


def _headline(table: ScoredTable) -> dict[str, Any]:
    labels_N, logits_N = table.labels_N, table.logits_N
    return {
        "num_patches": len(table),
        "num_positive": int((labels_N == 1).sum()),
        "num_slides": 0 if table.groups_N is None else len(set(table.groups_N.tolist())),
        "auc": metrics.roc_auc(labels_N, logits_N),
        "average_precision": metrics.average_precision(labels_N, logits_N),
        "accuracy": metrics.accuracy(labels_N, logits_N, THRESHOLD),
        "brier": metrics.brier(labels_N, logits_N),
        "log_loss": metrics.log_loss(labels_N, logits_N),
        "ece": metrics.expected_calibration_error(labels_N, logits_N),
        "threshold": THRESHOLD,
        "confusion": metrics.confusion(labels_N, logits_N, THRESHOLD),
    }


def _delong(table: ScoredTable) -> dict[str, Any]:
    """Return DeLong's interval, on the logit scale as the bootstrap's; it takes patches as independent."""
    auc = metrics.roc_auc(table.labels_N, table.logits_N)
    error = math.sqrt(delong.variance(table.labels_N, table.logits_N))
    if not 0 < auc < 1 or not error > 0:
        return {"value": auc, "low": None, "high": None, "standard_error": error}
    reach = 1.959963984540054 * error / (auc * (1 - auc))
    ends = metrics.probabilities(metrics.logits(np.array(auc)) + np.array([-reach, reach]))
    return {"value": auc, "low": float(ends[0]), "high": float(ends[1]), "standard_error": error}


def _resampling(units: Units) -> dict[str, Any]:
    by_slide, narrow = units.kind == "slide", ""
    note = "patches are resampled as if independent; patches of one slide are not, so intervals are optimistic"
    if by_slide:
        note = "whole slides are left out in turn, as they were sampled"
        worth = intervals.worth_of_classes(units)
        if min(worth.values()) < intervals.FEW_SLIDES:
            rarer = min(worth, key=worth.__getitem__)
            narrow = f"the {rarer} patches lie in what is worth {worth[rarer]:.1f} slides of equal size: intervals of "
            narrow += "Brier score, log loss and calibration error may be too narrow"
    return {
        "unit": units.kind,
        "num_units": units.num,
        "method": "jackknife" if by_slide else "bootstrap",
        "replicates": intervals.num_replicates(units),
        "level": intervals.LEVEL,
        "optimistic": not by_slide,
        "note": note,
        "too_narrow": narrow,
    }


def _part(table: ScoredTable, part_N: NDArray[np.bool_], name: str) -> dict[str, Any]:
    groups_N = None if table.groups_N is None else table.groups_N[part_N]
    return {
        "name": name,
        "num_patches": int(part_N.sum()),
        "num_positive": int((table.labels_N[part_N] == 1).sum()),
        "num_slides": 0 if groups_N is None else len(set(groups_N.tolist())),
        "resampling": _resampling(table.units(part_N)),
    }


def _points(table: ScoredTable, calibrated_N: Floats, chosen: Chosen, options: EvaluateOptions) -> list[dict[str, Any]]:
    assert table.is_calibration_N is not None
    tests = ~table.is_calibration_N
    units, rows = table.units(tests), []
    for point in chosen.points:
        outcome = operating_points.apply(table.labels_N[tests], calibrated_N[tests], point.logit, units)
        row = {**asdict(point), **asdict(outcome)}
        if options.prevalence is not None:
            held = (table.labels_N[tests], calibrated_N[tests], point.logit, units)
            ppv, npv = operating_points.at_prevalence(*held, options.prevalence)
            row["ppv_at_prevalence"], row["npv_at_prevalence"] = ppv.value, npv.value
            row["at_prevalence"] = {"ppv": ppv, "npv": npv}
        rows.append(row)
    return rows


def _slider(table: ScoredTable, calibrated_N: Floats, chosen: Chosen) -> list[list[float]]:
    """Return [probability, true positives, false positives] of the held part at every stop of the page's slider.

    The operating points are among the stops, so the page has exactly their numbers.
    """
    assert table.is_calibration_N is not None
    tests = ~table.is_calibration_N
    even = metrics.logits(np.arange(1, SLIDER_STEPS) / SLIDER_STEPS).tolist()
    stops = sorted({*even, *(point.logit for point in chosen.points)})
    counts = operating_points.steps(table.labels_N[tests], calibrated_N[tests], stops)
    shares = metrics.probabilities(np.array(stops)).tolist()
    return [[share, *pair] for share, pair in zip(shares, counts, strict=True)]


def _slides(table: ScoredTable, calibrated_N: Floats) -> list[dict[str, Any]]:
    if table.groups_N is None:
        return []
    rows = []
    for name in sorted(set(table.groups_N.tolist())):
        of_N = table.groups_N == name
        labels_N, logits_N = table.labels_N[of_N], calibrated_N[of_N]
        num_positive = int((labels_N == 1).sum())
        both = 0 < num_positive < len(labels_N)
        counts = metrics.confusion(labels_N, logits_N, THRESHOLD)
        rows.append(
            {
                "slide": name,
                "part": _part_of(table, of_N),
                "num_patches": len(labels_N),
                "num_positive": num_positive,
                "auc": metrics.roc_auc(labels_N, logits_N) if both else None,
                "mean_probability": float(metrics.probabilities(logits_N).mean()),
                "false_positive": counts.false_positive,
                "false_negative": counts.false_negative,
                "error_share": (counts.false_positive + counts.false_negative) / len(labels_N),
            }
        )
    return rows


def _part_of(table: ScoredTable, of_N: NDArray[np.bool_]) -> str:
    """Return the name of the part that a slide's patches are in."""
    assert table.is_calibration_N is not None
    parts = set(table.is_calibration_N[of_N].tolist())
    return "both halves" if len(parts) == 2 else table.part_names[0 if parts == {True} else 1]


def _tta(table: ScoredTable) -> dict[str, Any] | None:
    """Return what looking eight times is worth, and how well the views' disagreement foretells errors."""
    if table.plain_N is None or table.spread_N is None:
        return None
    labels_N = table.labels_N
    units = table.units(np.ones(len(table), bool))
    gain = paired.difference(labels_N, table.logits_N, table.plain_N, units)
    wrong_N = (table.logits_N >= 0) != (labels_N == 1)
    risks = {
        "D4 spread": decision.risk_coverage(wrong_N, table.spread_N),
        "nearness to 0.5": decision.risk_coverage(wrong_N, -np.abs(table.logits_N)),
    }
    return {
        "views": 8,
        "plain_auc": metrics.roc_auc(labels_N, table.plain_N),
        "plain_log_loss": metrics.log_loss(labels_N, table.plain_N),
        "auc_gain": gain,
        "auc_gain_delong_p": delong.paired_test(labels_N, table.logits_N, table.plain_N).p_value,
        "error_rate": float(wrong_N.mean()),
        "risk_area": {name: risk.area for name, risk in risks.items()},
        "median_spread": {"right": _median(table.spread_N[~wrong_N]), "wrong": _median(table.spread_N[wrong_N])},
    }


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else math.nan
