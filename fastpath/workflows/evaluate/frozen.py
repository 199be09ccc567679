"""What a run brings along to another store: its calibration and thresholds, as `evaluate` kept them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastpath.analysis import metrics
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.analysis.combine import Mean
from fastpath.analysis.operating_points import OperatingPoint
from fastpath.errors import DataError
from fastpath.runs import calibration_file
from fastpath.runs.chosen import Chosen
from fastpath.runs.trained import TrainedRun
from fastpath.types import Tta

KEPT = "judged"
"""Key of a kept calibration that tells how the run did on the patches that its calibration was not fitted on."""

_HALF = OperatingPoint("probability 0.5", "more likely tumour than not", 0.0, 0.5)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a run brings along.

    Attributes:
        chosen: Its calibration and thresholds.
        fitted_on: What patches they were chosen on, as the file tells; None without one.
        before: How the run did at home: its AUC and operating points, on patches that chose neither; None where the
            file does not tell.
        notices: Why there is no calibration or no threshold, where there is none.
    """

    chosen: Chosen
    fitted_on: Mapping[str, Any] | None
    before: Mapping[str, Any] | None
    notices: list[str]


def read(trained: TrainedRun, tta: Tta, mean: Mean) -> Frozen:
    """Return the calibration and thresholds that lie beside a run's checkpoint, to be applied as they are.

    Raises:
        DataError: There is a file that is not a calibration.
    """
    kept = calibration_file.load(trained.path, tta, mean)
    if kept.missing:
        text = f"{kept.missing}; scores are judged as the network gives them, at a probability of 0.5"
        return Frozen(Chosen("none", {}, [_HALF]), None, None, [text])
    used = kept.calibrator
    values, path = kept.about, kept.path or trained.path
    before = values.get(KEPT)
    fitted: dict[Method, Calibrator] = {} if used.method == "none" else {used.method: used}
    try:
        points = [_point(point) for point in before["operating_points"]] if before else [_HALF]
    except (KeyError, TypeError, ValueError) as error:
        problem = f"holds operating points that are none ({type(error).__name__})"
        raise DataError(path, problem, "run 'fastpath evaluate' of the run again") from None
    older = "the run's calibration is of a version that kept no thresholds: run 'fastpath evaluate' of the run again"
    notices = [*kept.notices, *([] if before else [older])]
    return Frozen(Chosen(used.method, fitted, points), values.get("fitted_on"), before, notices)


def _point(values: Mapping[str, Any]) -> OperatingPoint:
    logit = float(values["logit"])
    if not math.isfinite(logit):
        raise ValueError("a threshold that is not finite")
    probability = float(metrics.probabilities(np.array([logit]))[0])
    return OperatingPoint(str(values["name"]), str(values["meaning"]), logit, probability)


def keep(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a kept calibration holds of a report, for who judges the run elsewhere later."""
    return {KEPT: {"auc": facts["intervals"]["auc"], "operating_points": facts["operating_points"]}}
