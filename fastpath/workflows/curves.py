"""A run's curves as one picture: loss, validation AUC and learning rate by epoch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpath.shards.format import write_durably

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREY = "#1f6fb4", "#d9730d", "#8a8f98"


def draw_curves(path: Path, records: list[dict[str, Any]], title: str) -> None:
    """Write a PNG of three panels.

    Args:
        path: The picture.
        records: The journal's epochs; null values leave gaps.
        title: One line above the panels.
    """
    # Object-oriented, with no pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    loss, auc, rate = figure.subplots(1, 3)
    epochs = [record["epoch"] for record in records]
    _line(loss, epochs, _column(records, "train_loss"), "training", _GREY)
    _line(loss, epochs, _column(records, "val_loss"), "validation", _BLUE)
    _line(auc, epochs, _column(records, "val_auc"), "validation", _BLUE)
    _mark_best(auc, records)
    _rates(rate, epochs, records)
    _finish(loss, "Loss (binary cross-entropy)")
    _finish(auc, "Validation ROC AUC")
    _finish(rate, "Learning rate")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    content = io.BytesIO()
    canvas.print_figure(content, format="png", metadata={"Software": None})
    write_durably(path, content.getvalue())


def _column(records: list[dict[str, Any]], key: str) -> list[float]:
    return [float("nan") if record[key] is None else float(record[key]) for record in records]


def _line(axes: Axes, epochs: list[int], values: list[float], label: str, colour: str) -> None:
    axes.plot(epochs, values, color=colour, label=label, linewidth=1.8, marker="o", markersize=4)


def _rates(axes: Axes, epochs: list[int], records: list[dict[str, Any]]) -> None:
    """Draw the learning rate of each parameter group; one line where they are the same."""
    columns = {name: [record.get(f"lr_{name}") for record in records] for name in ("head", "trunk")}
    if columns["head"] == columns["trunk"]:
        columns = {"head and trunk": columns["head"]}
    for (name, values), colour in zip(columns.items(), (_ORANGE, _BLUE), strict=False):
        rates = [float(value) for value in values if value is not None]
        if rates:
            _line(axes, epochs, rates, name, colour)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.2g}")


def _mark_best(axes: Axes, records: list[dict[str, Any]]) -> None:
    """Ring the best epoch and write its value beside it."""
    best = [record for record in records if record["improved"] and record["val_auc"] is not None]
    if best:
        epoch, value = best[-1]["epoch"], best[-1]["val_auc"]
        axes.plot([epoch], [value], marker="o", markersize=10, fillstyle="none", color=_ORANGE, linestyle="none")
        axes.annotate(
            f"{value:.4f}", (epoch, value), xytext=(0, -16), textcoords="offset points", color=_ORANGE, ha="center"
        )


def _finish(axes: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.06, y=0.15)
    if len(axes.get_lines()) > 1 and axes.get_legend_handles_labels()[1][1:]:
        axes.legend(frameon=False, fontsize=9)
