"""A run's curves as one picture: loss, validation AUC, learning rate and speed by epoch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpath.figures import png
from fastpath.system.files import write_durably

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREY = "#1f6fb4", "#d9730d", "#8a8f98"


def draw_curves(path: Path, records: list[dict[str, Any]], title: str, timings: Sequence[dict[str, Any]] = ()) -> None:
    """Write a PNG of four panels.

    Args:
        path: The picture.
        records: The journal's epochs; null values leave gaps.
        title: One line above the panels.
        timings: The speed of these epochs.
    """
    # Object-oriented, with no pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.8), dpi=120)
    canvas = FigureCanvasAgg(figure)
    # Margins that hold the longest labels: a layout worked out from the text draws everything twice.
    figure.subplots_adjust(left=0.035, right=0.96, top=0.86, bottom=0.14, wspace=0.24)
    loss, auc, rate, speed = figure.subplots(1, 4)
    epochs = [record["epoch"] for record in records]
    _line(loss, epochs, _column(records, "train_loss"), "training", _GREY)
    _line(loss, epochs, _column(records, "val_loss"), "validation", _BLUE)
    _line(auc, epochs, _column(records, "val_auc"), "validation", _BLUE)
    _mark_best(auc, records)
    _rates(rate, epochs, records)
    _speed(speed, timings)
    _finish(loss, "Loss (binary cross-entropy)")
    _finish(auc, "Validation ROC AUC")
    _finish(rate, "Learning rate after the epoch")
    _finish(speed, "Training patches a second")
    figure.suptitle(png.literal(title, 160), x=0.01, ha="left", fontsize=11)
    content = io.BytesIO()
    canvas.print_figure(content, format="png", metadata={"Software": None})
    write_durably(path, content.getvalue())


def _column(records: Sequence[dict[str, Any]], key: str) -> list[float]:
    """Return one value an epoch; NaN, which leaves a gap, where it has none."""
    return [float("nan") if record.get(key) is None else float(record[key]) for record in records]


def _line(axes: Axes, epochs: list[int], values: list[float], label: str, colour: str) -> None:
    axes.plot(epochs, values, color=colour, label=label, linewidth=1.8, marker="o", markersize=4)


def _rates(axes: Axes, epochs: list[int], records: list[dict[str, Any]]) -> None:
    """Draw the learning rate of each parameter group; one line where they are the same."""
    columns = {name: _column(records, f"lr_{name}") for name in ("head", "trunk")}
    if columns["head"] == columns["trunk"]:
        columns = {"head and trunk": columns["head"]}
    for (name, rates), colour in zip(columns.items(), (_ORANGE, _BLUE), strict=False):
        if any(rate == rate for rate in rates):  # not all of them NaN
            _line(axes, epochs, rates, name, colour)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.2g}")


def _speed(axes: Axes, timings: Sequence[dict[str, Any]]) -> None:
    """Draw the rate, and on an axis of its own the share of time spent waiting for the loader."""
    epochs = [timing["epoch"] for timing in timings]
    _line(axes, epochs, _column(timings, "images_per_s"), "patches/s", _BLUE)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    stall = axes.twinx()
    shares = [100 * share for share in _column(timings, "stall_share")]
    stall.bar(epochs, shares, width=0.3, color=_GREY, alpha=0.5)
    stall.set_ylim(0, 100)
    stall.set_ylabel("waiting for the loader, %", fontsize=8, color=_GREY)
    stall.spines[["top"]].set_visible(False)


def _mark_best(axes: Axes, records: list[dict[str, Any]]) -> None:
    """Ring the best epoch and write its value beside it."""
    best = [record for record in records if record["improved"] and record["val_auc"] is not None]
    if best:
        epoch, value = best[-1]["epoch"], best[-1]["val_auc"]
        axes.plot([epoch], [value], marker="o", markersize=10, fillstyle="none", color=_ORANGE, linestyle="none")
        # Above its ring, and within the panel where the best epoch is the last.
        side, reach = ("right", 6) if epoch == records[-1]["epoch"] else ("center", 0)
        axes.annotate(f"{value:.4f}", (epoch, value), (reach, 8), textcoords="offset points", color=_ORANGE, ha=side)


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
