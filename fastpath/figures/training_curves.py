"""A run's curves as one picture: loss, validation AUC, learning rate of every step, and speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpath.figures import png, style
from fastpath.system.files import write_durably

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINING, VALIDATION = style.UNLABELLED, style.MODEL
BEST = style.TUMOUR
RATES = {"head": (style.SERIES[0], "-"), "trunk": (style.SERIES[1], "--")}
"""Colour and dashes of each parameter group's learning rate."""


def draw_curves(
    path: Path,
    records: list[dict[str, Any]],
    title: str,
    timings: Sequence[dict[str, Any]] = (),
    rates: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> None:
    """Write a PNG of four panels.

    Args:
        path: The picture.
        records: The journal's epochs; null values leave gaps.
        title: One line above the panels.
        timings: The speed of these epochs.
        rates: Learning rate by parameter group: epochs trained before a step, and the rate it was taken with.
    """
    # Margins that hold the longest labels: a layout worked out from the text draws everything twice.
    figure = style.canvas((15, 3.8), 120, constrained=False)
    figure.subplots_adjust(left=0.035, right=0.955, top=0.84, bottom=0.14, wspace=0.26)
    loss, auc, rate, speed = figure.subplots(1, 4)
    epochs = [record["epoch"] for record in records]
    _line(loss, epochs, _column(records, "train_loss"), "training", TRAINING, "s--")
    _line(loss, epochs, _column(records, "val_loss"), "validation", VALIDATION)
    _line(auc, epochs, _column(records, "val_auc"), "validation", VALIDATION)
    _mark_best(auc, records)
    power = _rates(rate, rates or {})
    _speed(speed, timings)
    _finish(loss, "Loss (binary cross-entropy)")
    _finish(auc, "Validation AUC")
    _finish(rate, f"Learning rate of each step{power}", least_named=1)
    _finish(speed, "Training patches a second")
    rate.set_ylim(bottom=0)
    speed.yaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    figure.suptitle(png.literal(title, 160), x=0.01, ha="left", fontsize=12, color=style.INK)
    write_durably(path, png.of_figure(figure))


def _column(records: Sequence[dict[str, Any]], key: str) -> list[float]:
    """Return one value an epoch; NaN, which leaves a gap, where it has none."""
    return [float("nan") if record.get(key) is None else float(record[key]) for record in records]


def _line(axes: Axes, epochs: list[int], values: list[float], label: str, colour: str, form: str = "o-") -> None:
    axes.plot(epochs, values, form, color=colour, label=label, linewidth=1.8, markersize=4)


def _rates(axes: Axes, rates: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw the learning rate of each parameter group, one line where they are the same; return the axis' power."""
    if len(rates) > 1 and len({tuple(points) for points in rates.values()}) == 1:
        rates = {" and ".join(rates): next(iter(rates.values()))}
    for name, points in rates.items():
        colour, dashes = RATES.get(name, RATES["head"])
        axes.plot(*zip(*points, strict=True), dashes, color=colour, label=name, linewidth=1.8)
    highest = max((rate for points in rates.values() for _, rate in points), default=1.0)
    power = math.floor(math.log10(highest)) if highest > 0 else 0
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value / 10.0**power:.3g}")
    return f" ($\\times 10^{{{power}}}$)" if power else ""


def _speed(axes: Axes, timings: Sequence[dict[str, Any]]) -> None:
    """Draw the rate, and on an axis of its own the share of time spent waiting for the loader."""
    epochs = [timing["epoch"] for timing in timings]
    _line(axes, epochs, _column(timings, "images_per_s"), "patches/s", style.MODEL)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    stall = axes.twinx()
    shares = [100 * share for share in _column(timings, "stall_share")]
    stall.bar(epochs, shares, width=0.3, color=style.UNLABELLED, alpha=0.5)
    stall.set_ylim(0, 100)
    stall.set_ylabel("bars: waiting for the loader (%)", fontsize=style.SMALL_PT, color=style.SOFT)
    stall.tick_params(labelsize=style.SMALL_PT, colors=style.SOFT)
    stall.spines[["top", "left", "bottom"]].set_visible(False)
    stall.spines[["right"]].set_color(style.UNLABELLED)


def _mark_best(axes: Axes, records: list[dict[str, Any]]) -> None:
    """Ring the best epoch and write its value beside it."""
    best = [record for record in records if record["improved"] and record["val_auc"] is not None]
    if best:
        epoch, value = best[-1]["epoch"], best[-1]["val_auc"]
        axes.plot([epoch], [value], marker="o", markersize=10, fillstyle="none", color=BEST, linestyle="none")
        # Above its ring, and within the panel where the best epoch is the last.
        side, reach = ("right", 6) if epoch == records[-1]["epoch"] else ("center", 0)
        axes.annotate(f"{value:.4f}", (epoch, value), (reach, 8), textcoords="offset points", color=BEST, ha=side)


def _finish(axes: Axes, title: str, *, least_named: int = 2) -> None:
    """Name a panel, and its lines where there are that many."""
    from matplotlib.ticker import MaxNLocator

    style.finish(axes, title, "epoch", "", grid="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.06, y=0.15)
    if len(axes.get_legend_handles_labels()[1]) >= least_named:
        axes.legend(frameon=False, fontsize=style.SMALL_PT, labelcolor=style.INK)
