"""What the numbers of a report come to, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastpath.analysis import verdicts
from fastpath.analysis.intervals import Interval
from fastpath.analysis.verdicts import Aim, Sampled, Verdict


def of_report(facts: Mapping[str, Any]) -> list[Verdict]:
    """Return what ranking and thresholds come to; of the calibration `report_calibration` tells.

    Args:
        facts: Plain values of a report.
    """
    found = [verdicts.ranking(_interval(facts["intervals"]["auc"]), Sampled(facts["num_slides"]))]
    wanted = _aims(facts["operating_points"])
    if wanted:
        # Halves are judged by the unit of the whole table, of which a half holds fewer slides.
        found.append(verdicts.aims(wanted, Sampled(facts["parts"]["held"]["num_slides"])))
    return found


def _aims(points: Sequence[Mapping[str, Any]]) -> list[Aim]:
    """Return the points that were chosen to reach a share of one class, such as 'sensitivity 95%'."""
    found = []
    for point in points:
        measure, _, share = str(point["name"]).partition(" ")
        if measure in ("sensitivity", "specificity") and share.endswith("%"):
            found.append(Aim(str(point["name"]), float(share.removesuffix("%")) / 100, _interval(point[measure])))
    return found


def _interval(one: Mapping[str, float | None]) -> Interval:
    return Interval(*(math.nan if (value := one[name]) is None else value for name in ("value", "low", "high")))
