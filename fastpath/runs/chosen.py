"""Calibration and thresholds: chosen on patches of their own, applied unchanged to those that are judged."""

from __future__ import annotations

from dataclasses import dataclass

from fastpath.analysis import calibration, operating_points
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.analysis.guarantee import guaranteed
from fastpath.analysis.operating_points import OperatingPoint
from fastpath.runs.report_table import ScoredTable


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen.

    Attributes:
        method: The calibration that is used; `none` where there is none.
        fitted: Calibrations by method.
        points: Thresholds, on logits after the calibration that is used.
        guarantee: Whether one of them keeps its sensitivity on other slides, in words; empty where it was not asked.
    """

    method: Method
    fitted: dict[Method, Calibrator]
    points: list[OperatingPoint]
    guarantee: str = ""

    @property
    def used(self) -> Calibrator:
        """The map that is used."""
        return self.fitted.get(self.method, calibration.IDENTITY)


def choose(table: ScoredTable, method: Method, miss_cost: float) -> Chosen:
    """Fit the calibrations and choose the thresholds on the patches of a divided table that are for that.

    Args:
        table: Checked and divided.
        method: The calibration that is used.
        miss_cost: Cost of a missed positive, in false alarms.
    """
    assert table.is_calibration_N is not None
    labels_N, logits_N = table.labels_N[table.is_calibration_N], table.logits_N[table.is_calibration_N]
    fitted = {name: calibration.fit(name, labels_N, logits_N) for name in calibration.METHODS}
    calibrated_N = fitted.get(method, calibration.IDENTITY).apply(logits_N)
    points = operating_points.choose(labels_N, calibrated_N, miss_cost)
    assured = guaranteed(labels_N, calibrated_N, table.units(table.is_calibration_N))
    return Chosen(method, fitted, [*points, *([assured.point] if assured.point else [])], assured.words)
