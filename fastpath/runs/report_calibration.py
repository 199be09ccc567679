"""What calibration did to patches that it was not fitted on: in numbers with intervals, and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import calibration, calibration_verdicts, intervals, measures, metrics, weighted
from fastpath.analysis.calibration import Calibrator
from fastpath.analysis.intervals import Interval, Units
from fastpath.analysis.verdicts import Sampled, Verdict
from fastpath.runs.chosen import Chosen
from fastpath.runs.report_table import Floats, ScoredTable


def describe(table: ScoredTable, chosen: Chosen, units: Units, seed: int) -> tuple[dict[str, Any], list[Verdict]]:
    """Return what each method makes of the patches, and what the one that is used came to, in words.

    Intervals are of the scores as they are and as they are used.

    Args:
        table: Divided.
        chosen: The calibrations.
        units: What the judged patches are a sample of.
        seed: Decides the resamples.
    """
    assert table.is_calibration_N is not None
    fits, held = table.is_calibration_N, ~table.is_calibration_N
    values: dict[str, Any] = {}
    for name, calibrator in {"none": calibration.IDENTITY, **chosen.fitted}.items():
        mapped_N = calibrator.apply(table.logits_N)
        labels_N, logits_N = table.labels_N[held], mapped_N[held]
        fitted = metrics.log_loss(table.labels_N[fits], mapped_N[fits]) if fits.any() else None
        values[name] = {
            "map": calibration.to_dict(calibrator),
            "log_loss_on_calibration_part": fitted,
            "held": _points(labels_N, logits_N),
        }
        if name in ("none", chosen.method):
            values[name]["intervals"] = measures.with_intervals(labels_N, logits_N, units, seed)
    verdicts = verdicts_of(table, chosen.used, units, seed)
    return {"method": chosen.method, "methods": values, "verdicts": verdicts}, verdicts


def verdicts_of(table: ScoredTable, used: Calibrator, units: Units, seed: int) -> list[Verdict]:
    """Return in words what a calibration came to on the patches of a divided table that are judged.

    Args:
        table: Divided, both classes among the judged.
        used: The calibration.
        units: What the judged patches are a sample of.
        seed: Decides the resamples.
    """
    assert table.is_calibration_N is not None
    held = ~table.is_calibration_N
    labels_N, before_N = table.labels_N[held], table.logits_N[held]
    change, before, after = _compare(labels_N, before_N, used.apply(before_N), units, seed)
    sampled = Sampled(units.num if units.kind == "slide" else _num_slides(table, held))
    return [
        calibration_verdicts.gain(used, change, len(labels_N), sampled),
        calibration_verdicts.in_the_large(before, after if _applied(used) else None, sampled),
    ]


def _applied(used: Calibrator) -> bool:
    return used.method != "none" and used.kept


def _points(labels_N: NDArray[Any], logits_N: Floats) -> dict[str, float]:
    once_1N = np.ones((1, len(labels_N)))
    return {
        "auc": metrics.roc_auc(labels_N, logits_N),
        "log_loss": metrics.log_loss(labels_N, logits_N),
        "brier": metrics.brier(labels_N, logits_N),
        "ece": metrics.expected_calibration_error(labels_N, logits_N),
        "observed_over_expected": float(weighted.observed_over_expected(labels_N, logits_N, once_1N)[0]),
        "calibration_intercept": float(weighted.calibration_intercept(labels_N, logits_N, once_1N)[0]),
    }


def _num_slides(table: ScoredTable, held_N: NDArray[np.bool_]) -> int:
    return 0 if table.groups_N is None else len(set(table.groups_N[held_N].tolist()))


def _compare(
    labels_N: NDArray[Any], before_N: Floats, after_N: Floats, units: Units, seed: int
) -> tuple[Interval, Interval, Interval]:
    """Return the mean change of the log loss a patch, and observed over expected before and after."""
    positive_N = np.asarray(labels_N) == 1
    change_N = metrics.cross_entropies(positive_N, after_N) - metrics.cross_entropies(positive_N, before_N)

    def statistic(weights_BN: Floats) -> Floats:
        large = [weighted.observed_over_expected(labels_N, logits_N, weights_BN) for logits_N in (before_N, after_N)]
        return np.stack([weights_BN @ change_N / weights_BN.sum(axis=1), *large], axis=1)

    change, before, after = intervals.bootstrap(statistic, units, ("plain", "log", "log"), seed=seed)
    return change, before, after
