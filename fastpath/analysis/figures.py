"""Pictures of scores. Each returns the bytes of a PNG, the same for the same input."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREY = "#1f6fb4", "#d9730d", "#8a8f98"


def evaluation(labels_N: NDArray[Any], logits_N: NDArray[Any], title: str) -> bytes:
    """Draw the ROC curve, precision over recall, and the two classes' scores.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Finite.
        title: One line above the panels.

    Raises:
        DataError: See `metrics.curve`.
    """
    # Object-oriented, with no pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = metrics.curve(labels_N, logits_N)
    figure = Figure(figsize=(12, 4.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    roc, precision, scores = figure.subplots(1, 3)

    recall_T = np.append(0.0, points.true_positives_T / points.num_positive)
    fall_out_T = np.append(0.0, points.false_positives_T / points.num_negative)
    roc.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":")
    roc.plot(fall_out_T, recall_T, color=_BLUE, linewidth=1.8)
    _frame(roc, f"ROC, area {metrics.roc_auc(labels_N, logits_N):.4f}", "false positive rate", "true positive rate")

    precision_T = points.true_positives_T / (points.true_positives_T + points.false_positives_T)
    share = points.num_positive / (points.num_positive + points.num_negative)
    precision.axhline(share, color=_GREY, linewidth=1, linestyle=":")
    precision.step(recall_T, np.append(precision_T[0], precision_T), where="pre", color=_BLUE, linewidth=1.8)
    area = metrics.average_precision(labels_N, logits_N)
    _frame(precision, f"Precision and recall, average precision {area:.4f}", "recall", "precision")

    probability_N = metrics.probabilities(logits_N)
    bins = np.linspace(0, 1, 41)
    for label, name, colour in ((0, "negative", _BLUE), (1, "positive", _ORANGE)):
        chosen_N = probability_N[np.asarray(labels_N) == label]
        scores.hist(chosen_N, bins=bins, color=colour, alpha=0.55, label=f"{name} ({len(chosen_N):,})")
    scores.axvline(0.5, color=_GREY, linewidth=1, linestyle=":")
    scores.set_yscale("log")
    scores.legend(frameon=False, fontsize=9, loc="upper center")
    scores.set_title("Scores by class", loc="left", fontsize=10)
    scores.set_xlabel("probability")
    scores.set_ylabel("patches")
    scores.spines[["top", "right"]].set_visible(False)

    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _frame(axes: Axes, title: str, x_name: str, y_name: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
