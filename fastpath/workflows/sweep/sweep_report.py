"""What a sweep leaves beside its runs: result.json, settings.csv, pairs.csv and sweep.png."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastpath.figures import png
from fastpath.runs import output_place
from fastpath.text import to_csv
from fastpath.workflows.sweep.sweep_result import Row, SweepResult

RESULT, SETTINGS, PAIRS, PICTURE = "result.json", "settings.csv", "pairs.csv", "sweep.png"
_COLOURS = {"best": "#d9730d", "worse": "#1f6fb4", "not distinguishable": "#8a8f98", "incomplete": "#8a8f98"}


def write(output: Path, result: SweepResult) -> None:
    """Write the tables, the picture and the result as a set."""
    settings = [
        {
            "setting": row.name,
            "mean_auc": row.mean,
            "sd_auc": row.spread,
            "verdict": row.verdict,
            **{f"seed_{seed}": auc for seed, auc in zip(result.seeds, row.aucs, strict=True)},
        }
        for row in result.settings
    ]
    columns = ("first", "second", "difference", "standard_error", "p_value", "p_corrected", "verdict")
    facts = {key: value for key, value in asdict(result).items() if key != "output"}
    content = {
        SETTINGS: _csv(settings),
        PAIRS: _csv(result.pairs, columns),
        PICTURE: draw_sweep(result.settings, f"{len(result.seeds)} seeds, {result.num_val:,} patches"),
        RESULT: (json.dumps(facts, indent=2) + "\n").encode(),
    }
    output_place.write_set(output, RESULT, content)


def draw_sweep(rows: Sequence[Row], title: str) -> bytes:
    """Return a PNG: each setting's seeds as points, their mean as a bar, the best at the top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.42 * len(rows)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        known = [auc for auc in row.aucs if auc is not None]
        axes.plot(known, [place] * len(known), "o", color=_COLOURS[row.verdict], alpha=0.6, markersize=6)
        if row.mean is not None:
            axes.plot([row.mean, row.mean], [place - 0.3, place + 0.3], color=_COLOURS[row.verdict], linewidth=2.5)
    axes.set_yticks(
        range(len(rows)), [f"{png.literal(row.name)}  ({row.verdict})" for row in reversed(rows)], fontsize=9
    )
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("best validation ROC AUC")
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"Points are runs, bars their means: {png.literal(title)}", loc="left", fontsize=10)
    return png.of_figure(figure)


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> bytes:
    names = list(columns or rows[0])
    return to_csv(names, ([row[name] for name in names] for row in rows))
