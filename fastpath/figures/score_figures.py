"""Pictures of scores. Each returns the bytes of a PNG, one panel, the same for the same input.

Lines differ in dashes and fills in hatching, so that they can be told apart without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import calibration, decision, metrics, proportions
from fastpath.analysis.intervals import Interval, Units
from fastpath.analysis.metrics import Curve, Floats
from fastpath.figures import png, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DRAWN = 4000  # points of a curve: more cannot be seen


def roc(
    labels_N: NDArray[Any], logits_N: NDArray[Any], auc: Interval, points: Sequence[tuple[float, float]] = ()
) -> bytes:
    """Draw the ROC curve, with its steep beginning enlarged on a logarithmic axis.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Finite.
        auc: Told above.
        points: False positive rate and sensitivity of each operating point, numbered from 1 in the picture.
    """
    figure, axes = style.panel()
    steps = metrics.curve(labels_N, logits_N)
    fall_out_T, recall_T = _rates(steps)
    axes.plot([0, 1], [0, 1], color=style.CHANCE, linewidth=1, linestyle=":")
    axes.plot(fall_out_T, recall_T, color=style.MODEL, linewidth=1.8)
    _unit(axes)
    style.finish(axes, f"AUC {_interval_text(auc)}", "false positive rate (1 − specificity)", "sensitivity")  # noqa: RUF001
    inset = axes.inset_axes((0.42, 0.13, 0.55, 0.5))
    least = 0.5 / steps.num_negative
    inset.plot(np.maximum(fall_out_T, least), recall_T, color=style.MODEL, linewidth=1.5)
    _mark(axes, points, 0.0)
    _mark(inset, points, least, with_numbers=False)
    inset.set_xscale("log")
    inset.set_xlim(least, 1)
    style.plain_decades(inset.xaxis)
    inset.set_ylim(0, 1.02)
    inset.tick_params(labelsize=8)
    inset.set_title("the same, false positive rate on a log axis", fontsize=8, loc="right", color=style.INK)
    inset.grid(color=style.LINE, linewidth=0.6)
    return png.of_figure(figure)


def precision_recall(labels_N: NDArray[Any], logits_N: NDArray[Any], area: Interval) -> bytes:
    """Draw precision over recall; the dotted line is what chance gives."""
    figure, axes = style.panel()
    points = metrics.curve(labels_N, logits_N)
    _, recall_T = _rates(points)
    found_T, called_T = points.true_positives_T, points.true_positives_T + points.false_positives_T
    precision_T = _thin(np.append(found_T[0] / called_T[0], found_T / called_T))
    share = points.num_positive / (points.num_positive + points.num_negative)
    axes.axhline(share, color=style.CHANCE, linewidth=1, linestyle=":")
    axes.text(0.01, share + 0.015, f"chance: {share:.3f}", fontsize=9, color=style.INK)
    axes.step(recall_T, precision_T, where="pre", color=style.MODEL, linewidth=1.8)
    _unit(axes)
    style.finish(axes, f"Average precision {_interval_text(area)}", "recall (sensitivity)", "precision (PPV)")
    return png.of_figure(figure)


def reliability(labels_N: NDArray[Any], before_N: NDArray[Any], after_N: NDArray[Any], units: Units) -> bytes:
    """Draw the share of positives over the probability, before calibration and after; on the line, both agree.

    Bars are 95% intervals of the share in a bin after calibration (`proportions.proportion`), by the units sampled.
    """
    figure, axes = style.panel()
    axes.plot([0, 1], [0, 1], color=style.CHANCE, linewidth=1, linestyle=":")
    styles = (
        (before_N, "before", style.BEFORE, "--", "s", "none"),
        (after_N, "after", style.MODEL, "-", "o", style.MODEL),
    )
    for logits_N, name, colour, line, marker, fill in styles:
        result = calibration.reliability(labels_N, logits_N)
        error = metrics.expected_calibration_error(labels_N, logits_N)
        text = f"{name}: error {error:.3f}"
        axes.plot(result.probability_K, result.share_K, line, color=colour, linewidth=1.3, label=text)
        size = 12 + 90 * result.count_K / result.count_K.max()
        axes.scatter(
            result.probability_K,
            result.share_K,
            s=size,
            marker=marker,
            facecolors=fill,
            edgecolors=colour,
            clip_on=False,
        )
    bins_N = metrics.probability_bins(metrics.probabilities(after_N))
    for at in result.probability_K:
        of_N = bins_N == metrics.probability_bins(np.array([at]))[0]
        interval = proportions.proportion(np.asarray(labels_N) == 1, of_N, units)
        axes.plot([at, at], [interval.low, interval.high], color=style.MODEL, linewidth=1, alpha=0.6)
    style.legend_above(axes)
    _unit(axes)
    style.finish(axes, "", "probability (mean of a bin)", "share of tumour patches; marks grow with patches")
    return png.of_figure(figure)


def histogram(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> bytes:
    """Draw how the two classes' probabilities lie, patches on a logarithmic axis."""
    figure, axes = style.panel()
    probability_N, bins = metrics.probabilities(logits_N), np.linspace(0, 1, 31).tolist()
    for label, name, colour, hatch in ((0, "normal", style.NORMAL, "////"), (1, "tumour", style.TUMOUR, "....")):
        chosen_N = probability_N[np.asarray(labels_N) == label]
        label_text = f"{name} ({len(chosen_N):,})"
        axes.hist(chosen_N, bins=bins, label=label_text, color=colour, hatch=hatch, edgecolor=colour, alpha=0.28)
        axes.hist(chosen_N, bins=bins, histtype="step", color=colour, linewidth=1.4)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.6)  # a single patch is seen
    style.plain_decades(axes.yaxis)
    style.legend_above(axes)
    style.finish(axes, "", "calibrated probability", "patches")
    return png.of_figure(figure)


def decision_curve(labels_N: NDArray[Any], logits_N: NDArray[Any]) -> bytes:
    """Draw the net benefit of acting on the model, on every patch and on none."""
    figure, axes = style.panel()
    result = decision.decision_curve(labels_N, logits_N)
    axes.axhline(0, color=style.CHANCE, linewidth=1.2, linestyle=":", label="act on none")
    axes.plot(result.thresholds_T, result.all_T, color=style.BEFORE, linewidth=1.4, linestyle="--", label="act on all")
    axes.plot(result.thresholds_T, result.model_T, color=style.MODEL, linewidth=1.8, label="act on the model")
    top = float(max(result.model_T.max(), result.all_T.max(), 0.01))
    axes.set_ylim(-0.25 * top, 1.1 * top)
    axes.set_xlim(0, 1)
    style.legend_above(axes, 3)
    style.finish(axes, "", "probability at which one would act", "net benefit, true positives a patch")
    return png.of_figure(figure)


def risk_coverage(curves: Mapping[str, decision.RiskCoverage]) -> bytes:
    """Draw the share of errors among the most certain patches, by measure of uncertainty."""
    figure, axes = style.panel()
    styles = tuple(zip(style.SERIES, style.DASHES, strict=False))
    for (name, curve), (colour, line) in zip(curves.items(), styles, strict=False):
        label = f"{name}: area {curve.area:.4f}"
        axes.plot(_thin(curve.coverage_T), _thin(curve.risk_T), line, color=colour, linewidth=1.6, label=label)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    style.finish(axes, "", "share of patches decided, the surest first", "share of errors among them")
    return png.of_figure(figure)


def _mark(axes: Axes, points: Sequence[tuple[float, float]], least: float, *, with_numbers: bool = True) -> None:
    """Draw operating points as rings; those too close to be told apart share one label."""
    rings: list[tuple[float, float, list[str]]] = []
    for number, (x, y) in enumerate(points, start=1):
        near = next((ring for ring in rings if abs(ring[0] - x) < 0.08 and abs(ring[1] - y) < 0.04), None)
        if near is None:
            rings.append((x, y, [str(number)]))
        else:
            near[2].append(str(number))
        axes.plot(
            [max(x, least)],
            [y],
            "o",
            color=style.OPERATING_POINT,
            markersize=5,
            fillstyle="none",
            clip_on=False,
            zorder=3,
        )
    for x, y, numbers in rings if with_numbers else ():
        # Below and to the right of a curve that rises to the left of its points there is nothing.
        axes.annotate(",".join(numbers), (x, y), (4, -10), textcoords="offset points", fontsize=8, color=style.INK)


def _rates(points: Curve) -> tuple[Floats, Floats]:
    fall_out_T = np.append(0.0, points.false_positives_T / points.num_negative)
    return _thin(fall_out_T), _thin(np.append(0.0, points.true_positives_T / points.num_positive))


def _thin(values_T: Floats) -> Floats:
    """Return at most `_DRAWN` points, the ends among them."""
    return np.asarray(values_T[np.unique(np.linspace(0, len(values_T) - 1, _DRAWN).astype(int))])


def _interval_text(interval: Interval) -> str:
    ends = "" if np.isnan(interval.low) else f" ({interval.low:.4f} to {interval.high:.4f})"
    return f"{interval.value:.4f}{ends}"


def _unit(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
