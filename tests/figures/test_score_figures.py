"""Pictures of scores: what they must show, and that the same input gives the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from fastpath.analysis.intervals import Interval
from fastpath.figures import png, score_figures

LABELS_N = np.arange(60) % 3 == 0
LOGITS_N = np.random.default_rng(1).normal(2.0 * LABELS_N, 1.0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were drawn, as they were when they became a PNG."""
    figures: list[Figure] = []
    real = png.of_figure

    def kept(figure: Figure) -> bytes:
        figures.append(figure)
        return real(figure)

    monkeypatch.setattr(png, "of_figure", kept)
    return figures


def test_operating_points_lie_on_the_roc_numbered_and_those_that_coincide_together(drawn: list[Figure]) -> None:
    points = [(0.05, 0.4), (0.5, 0.9), (0.98, 1.0), (0.99, 1.0)]
    score_figures.roc(LABELS_N, LOGITS_N, Interval(0.9, 0.8, 0.95), points)
    (axes,) = drawn[0].axes
    marks = [np.asarray(line.get_xydata())[0].tolist() for line in axes.get_lines() if line.get_marker() == "o"]
    assert marks == [list(point) for point in points]
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3,4"]
    (inset,) = axes.child_axes
    assert sum(line.get_marker() == "o" for line in inset.get_lines()) == len(points)


def test_classes_are_called_normal_and_tumour(drawn: list[Figure]) -> None:
    score_figures.histogram(LABELS_N, LOGITS_N)
    legend = drawn[0].axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["normal (40)", "tumour (20)"]


def test_the_same_input_gives_the_same_bytes() -> None:
    pictures = [score_figures.roc(LABELS_N, LOGITS_N, Interval(0.9, np.nan, np.nan), [(0.1, 0.5)]) for _ in range(2)]
    assert pictures[0] == pictures[1]
