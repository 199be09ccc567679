"""The verdicts of a report are of its own numbers."""

from __future__ import annotations

from typing import Any

import pytest

from fastpath.workflows.evaluate import report_verdicts


def _facts(auc: tuple[float | None, ...], points: list[tuple[str, tuple[float, float, float]]]) -> dict[str, Any]:
    ends = ("value", "low", "high")
    return {
        "intervals": {"auc": dict(zip(ends, auc, strict=True))},
        "num_slides": 12,
        "parts": {"held": {"num_slides": 6}},
        "operating_points": [
            {"name": name, **{key: dict(zip(ends, bounds, strict=True)) for key in ("sensitivity", "specificity")}}
            for name, bounds in points
        ],
    }


@pytest.mark.parametrize(
    ("missed", "alarms", "phrases"),
    [
        (
            (26, 100, 0.66, 0.81),
            (10, 100, 0.82, 0.95),
            ("26 of 100 tumour patches (19 to 34)", "10 of 100 normal ones (5 to 18)"),
        ),
        (
            (2, 8, 0.4, 0.93),
            (1, 1000, 0.996, 1.0),
            ("2 of 8 tumour patches (1 to 5)", "fewer than 1 of 100 normal ones (0 to 0)"),
        ),
        ((0, 150, None, None), (0, 30, None, None), ("0 of 100 tumour patches", "0 of 30 normal ones")),
    ],
)
def test_the_first_sentence_counts_patches(
    missed: tuple[int, int, Any, Any], alarms: tuple[int, int, Any, Any], phrases: tuple[str, str]
) -> None:
    point = {
        "probability": 0.5,
        "confusion": {"false_negative": missed[0], "false_positive": alarms[0]},
        "sensitivity": {"low": missed[2], "high": missed[3]},
        "specificity": {"low": alarms[2], "high": alarms[3]},
    }
    held = {"name": "held half", "num_positive": missed[1], "num_patches": missed[1] + alarms[1]}
    num = missed[1] + alarms[1]
    assert report_verdicts.summary({"operating_points": [point], "parts": {"held": held}}) == (
        f"At a calibrated probability of 0.5 it misses {phrases[0]} and calls {phrases[1]} tumour; "
        f"held half, {num:,} patches, 95% intervals in brackets"
    )


@pytest.mark.parametrize(
    ("auc", "points", "findings"),
    [
        ((0.9, 0.87, 0.93), [("Youden", (0.8, 0.7, 0.9))], ["better than chance"]),
        ((0.9, 0.87, 0.93), [("sensitivity 95%", (0.97, 0.95, 0.99))], ["better than chance", "kept"]),
        ((0.9, 0.87, 0.93), [("specificity 95%", (0.9, 0.85, 0.94))], ["better than chance", "missed"]),
        ((1.0, None, None), [("sensitivity 99%", (0.98, 0.95, 1.0))], ["undecided", "undecided"]),
    ],
)
def test_ranking_and_aims_are_told(
    auc: tuple[float | None, ...], points: list[tuple[str, tuple[float, float, float]]], findings: list[str]
) -> None:
    assert [verdict.finding for verdict in report_verdicts.of_report(_facts(auc, points))] == findings
