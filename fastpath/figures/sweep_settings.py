"""A sweep's settings side by side: each seed's AUC, and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastpath.figures import png, style

_COLOURS = {
    "best": style.TUMOUR,
    "worse": style.NORMAL,
    "not distinguishable": style.UNLABELLED,
    "incomplete": style.UNLABELLED,
}


class SettingRuns(Protocol):
    """One setting over its seeds.

    Attributes:
        name: The setting.
        aucs: Best validation AUC of each seed; None where that run has none.
        mean: Of these; None where one is missing.
        verdict: `best`, `worse`, `not distinguishable` or `incomplete`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 (as above)
    @property
    def aucs(self) -> Sequence[float | None]: ...  # noqa: D102
    @property
    def mean(self) -> float | None: ...  # noqa: D102
    @property
    def verdict(self) -> str: ...  # noqa: D102


def draw_sweep(rows: Sequence[SettingRuns], title: str) -> bytes:
    """Return a PNG: each setting's seeds as points, their mean as a bar, the first at the top.

    Args:
        rows: The best setting first.
        title: How many seeds and patches this is of.
    """
    figure = style.canvas((9, 1.6 + 0.42 * len(rows)), 120)
    axes = figure.add_subplot()
    for place, row in enumerate(reversed(rows)):
        known, colour = [auc for auc in row.aucs if auc is not None], _COLOURS[row.verdict]
        axes.plot(known, [place] * len(known), "o", color=colour, alpha=0.6, markersize=6)
        if row.mean is not None:
            axes.plot([row.mean, row.mean], [place - 0.3, place + 0.3], color=colour, linewidth=2.5)
    axes.set_yticks(range(len(rows)), [f"{png.literal(row.name)}  ({row.verdict})" for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    style.finish(axes, "", "best validation AUC", "", grid="x")
    text = f"Points are runs, bars their means: {png.literal(title)}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=style.TITLE_PT, color=style.INK)
    return png.of_figure(figure)
