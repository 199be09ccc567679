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
    verdicts_ = [verdicts.ranking(_interval(facts["intervals"]["auc"]), Sampled(facts["num_slides"]))]
    wanted = _aims(facts["operating_points"])
    if wanted:
        # Halves are judged by the unit of the whole table, of which a half holds fewer slides.
        verdicts_.append(verdicts.aims(wanted, Sampled(facts["parts"]["held"]["num_slides"])))
    return verdicts_


def summary(facts: Mapping[str, Any]) -> str:
    """Return what the network does at a probability of 0.5 to the patches that chose nothing, as one sentence.

    Args:
        facts: Plain values of a report.
    """
    point, held = facts["operating_points"][0], facts["parts"]["held"]
    counts = point["confusion"]
    positives, negatives = held["num_positive"], held["num_patches"] - held["num_positive"]
    missed = _of(counts["false_negative"], positives, "tumour patches", point["sensitivity"])
    alarms = _of(counts["false_positive"], negatives, "normal ones", point["specificity"])
    return (
        f"At a calibrated probability of {point['probability']:.2g} it misses {missed} and calls {alarms} tumour; "
        f"{held['name']}, {held['num_patches']:,} patches, 95% intervals in brackets"
    )


def _of(num: int, total: int, what: str, right: Mapping[str, float | None]) -> str:
    """Return a number of patches of a class, of 100 where there are as many, with the interval of the rest's share."""
    if not total:
        return f"none of 0 {what}"
    scale = 100 if total >= 100 else total
    text = f"{scale * num / total:.0f} of {scale} {what}"
    if 0 < num / total * scale < 0.5:
        text = f"fewer than 1 of {scale} {what}"
    if right["low"] is None or right["high"] is None:
        return text
    return f"{text} ({scale * (1 - right['high']):.0f} to {scale * (1 - right['low']):.0f})"


def _aims(points: Sequence[Mapping[str, Any]]) -> list[Aim]:
    """Return the points that were chosen to reach a share of one class, such as 'sensitivity 95%'."""
    aims = []
    for point in points:
        measure, _, share = str(point["name"]).partition(" ")
        if measure in ("sensitivity", "specificity") and share.endswith("%"):
            aims.append(Aim(str(point["name"]), float(share.removesuffix("%")) / 100, _interval(point[measure])))
    return aims


def _interval(values: Mapping[str, float | None]) -> Interval:
    return Interval(*(math.nan if (value := values[name]) is None else value for name in ("value", "low", "high")))
