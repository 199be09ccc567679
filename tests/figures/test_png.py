"""Names that people give are drawn as they are: no mathematics, no lost legend, no error after hours of work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fastpath.figures import (
    explain_sheet,
    patch_figures,
    png,
    run_comparison,
    slide_map,
    sweep_settings,
    training_curves,
)
from fastpath.figures.patch_figures import Row
from fastpath.workflows.bench import bench

NAMES = (
    "$x_$",
    "$x$",
    "a$b",
    "$$",
    r"a\$b$",
    r"$\frac{$",
    "_hidden",
    "a\nb",
    "a\x07b",
    "患者 1",
    "\udcff",
    "a" * 300,
    "",
)
PATCHES = np.zeros((2, 8, 8, 3), np.uint8)
SLIDE = slide_map.SlideMap(PATCHES[0], np.eye(2), 4.0, 0.5, 0.5, (), ())


def _compared(name: str, _path: Path) -> bytes:
    labels_N, logits_N = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.4, 0.3])
    epochs = [{"epoch": 1, "val_auc": 0.7}, {"epoch": 2, "val_auc": 0.8}]
    return run_comparison.draw_comparison([name, "other"], labels_N, np.stack([logits_N, logits_N]), [epochs, []], name)


def _swept(name: str, _path: Path) -> bytes:
    from fastpath.workflows.sweep.sweep import Row as Setting

    return sweep_settings.draw_sweep([Setting(name, (0.8, 0.9), 0.85, 0.05, "best")], name)


def _benched(name: str, path: Path) -> bytes:
    nothing = dict.fromkeys((field for field in bench.BenchResult.__dataclass_fields__), 1.0)
    bench.draw_benchmark(bench.BenchResult(**{**nothing, "runtime": name}), path)  # type: ignore[arg-type]
    return path.read_bytes()


def _curves(name: str, path: Path) -> bytes:
    training_curves.draw_curves(path, [], name)
    return path.read_bytes()


DRAWN: dict[str, Callable[[str, Path], bytes]] = {
    "compare": _compared,
    "sweep": _swept,
    "bench": _benched,
    "train": _curves,
    "slide": lambda name, _: slide_map.heatmap(SLIDE, [name]),
    "contact sheet": lambda name, _: patch_figures.contact_sheet([Row(name, PATCHES, [name, name])], 2),
    "balance": lambda name, _: patch_figures.balance({name: {0: 3, 1: 4}}),
    "explain": lambda name, _: explain_sheet.sheet(PATCHES, [png.literal(name)] * 2, ["patch"], {}),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_any_name_can_be_drawn(kind: str, tmp_path: Path) -> None:
    for name in NAMES if kind == "contact sheet" else NAMES[:1]:
        assert DRAWN[kind](name, tmp_path / "it.png").startswith(b"\x89PNG")


def _drawn(text: str, *, parse_math: bool) -> NDArray[np.uint8]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 0.5))
    canvas = FigureCanvasAgg(figure)
    figure.text(0.1, 0.3, text, parse_math=parse_math)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


@pytest.mark.parametrize("name", ["$x$", "a$b", "$$", r"a\$b$", "plain"])
def test_a_name_is_drawn_letter_by_letter(name: str) -> None:
    assert np.array_equal(_drawn(png.literal(name), parse_math=True), _drawn(name, parse_math=False))


def test_a_run_whose_name_begins_with_a_line_is_in_the_legend() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([1], label=png.literal("_first"))
    assert [text.get_text() for text in axes.legend().get_texts()] == [" _first"]


def test_a_long_name_is_cut() -> None:
    assert png.literal("a" * 9, 5) == "aaaa…"
    assert png.literal("a" * 5, 5) == "a" * 5
