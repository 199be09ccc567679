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
            {"name": name, **{key: dict(zip(ends, found, strict=True)) for key in ("sensitivity", "specificity")}}
            for name, found in points
        ],
    }


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
    assert [one.finding for one in report_verdicts.of_report(_facts(auc, points))] == findings
