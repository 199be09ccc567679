"""Several runs' ROC curves and validation AUC by epoch, on one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.figures import png, style


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
    from matplotlib.ticker import MaxNLocator

    figure = style.canvas((11, 4.6), 120)
    roc, auc_axes = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color=style.CHANCE, linewidth=1, linestyle=":")
    for at, (given, logits_N, epochs) in enumerate(zip(names, logits_RN, journals, strict=True)):
        name = png.literal(given, 40)
        colour, dashes = style.series(at)
        look = {"color": colour, "linestyle": dashes, "linewidth": 1.7}
        points = metrics.curve(labels_N, logits_N)
        label = f"{name}, AUC {metrics.roc_auc(labels_N, logits_N):.4f}"
        fall_out_T = np.append(0.0, points.false_positives_T / points.num_negative)
        roc.plot(fall_out_T, np.append(0.0, points.true_positives_T / points.num_positive), label=label, **look)
        known = [(row["epoch"], row["val_auc"]) for row in epochs if row.get("val_auc") is not None]
        if known:
            auc_axes.plot(*zip(*known, strict=True), label=name, marker="o", markersize=3.5, **look)
    style.finish(roc, "ROC", "false positive rate (1 − specificity)", "sensitivity")  # noqa: RUF001
    roc.legend(frameon=False, fontsize=style.SMALL_PT, labelcolor=style.INK, loc="lower right")
    style.finish(auc_axes, "Validation AUC, as each run saw it while training", "epoch", "")
    auc_axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.suptitle(png.literal(title), x=0.01, ha="left", fontsize=style.TITLE_PT, color=style.INK)
    return png.of_figure(figure)
