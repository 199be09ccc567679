"""Several runs' ROC curves and validation AUC by epoch, on one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.figures import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart by the colour-blind too (Okabe and Ito), and by the dashes of the second round.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98")
_DASHES = ("-", "--", ":", "-.")


def draw_comparison(
    names: Sequence[str],
    labels_N: NDArray[Any],
    logits_RN: NDArray[Any],
    journals: Sequence[list[dict[str, Any]]],
    title: str,
) -> bytes:
    """Return a PNG of two panels.

    Args:
        names: Of the runs.
        labels_N: 0 or 1, both present.
        logits_RN: Finite, a row per run.
        journals: Each run's epochs; empty where they are not known.
        title: One line above the panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    roc, auc_axes = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color="#b0b5bc", linewidth=1, linestyle=":")
    for at, (given, logits_N, epochs) in enumerate(zip(names, logits_RN, journals, strict=True)):
        name = png.literal(given, 40)
        look = {"color": _COLOURS[at % 7], "linestyle": _DASHES[at // 7 % 4], "linewidth": 1.7}
        points = metrics.curve(labels_N, logits_N)
        label = f"{name}, area {metrics.roc_auc(labels_N, logits_N):.4f}"
        fall_out_T = np.append(0.0, points.false_positives_T / points.num_negative)
        roc.plot(fall_out_T, np.append(0.0, points.true_positives_T / points.num_positive), label=label, **look)
        known = [(row["epoch"], row["val_auc"]) for row in epochs if row.get("val_auc") is not None]
        if known:
            auc_axes.plot(*zip(*known, strict=True), label=name, marker="o", markersize=3.5, **look)
    _frame(roc, "ROC", "false positive rate (1 − specificity)", "sensitivity")  # noqa: RUF001
    roc.legend(frameon=False, fontsize=8, loc="lower right")
    _frame(auc_axes, "Validation AUC, as each run saw it while training", "epoch", "")
    auc_axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.suptitle(png.literal(title), x=0.01, ha="left", fontsize=11)
    return png.of_figure(figure)


def _frame(axes: Axes, title: str, x_name: str, y_name: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
