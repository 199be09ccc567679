"""The heatmap of a slide, pixel by pixel: what is clear, what is outlined, and how long the scale bar is."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from fastpath.analysis.outlines import Outline
from fastpath.figures import slide_tiles, style
from fastpath.figures.slide_map import SlideMap, alpha, heatmap, length, round_length_um

SQUARE = np.array([[160.0, 120.0], [480.0, 120.0], [480.0, 360.0], [160.0, 360.0]])


def _slide(probability: float = 0.01) -> SlideMap:
    """A slide of one colour, 20 by 15 cells of 32 pixels."""
    overview = np.full((15 * 16, 20 * 16, 3), (200, 120, 170), np.uint8)
    map_HW = np.full((15, 20), probability)
    return SlideMap(overview, map_HW, cell_px=32.0, mpp=1.0, threshold=0.5, called=[], lesions=[])


def _pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def _num(pixels: np.ndarray, colour: str | tuple[int, int, int], within: int = 6) -> int:
    wanted = np.array(to_rgb(colour)) * 255 if isinstance(colour, str) else np.array(colour)
    return int((np.abs(pixels - wanted).max(axis=2) <= within).sum())


def test_the_low_end_is_clear_and_the_rest_rises_to_the_threshold() -> None:
    probability = np.linspace(0, 1, 101)
    for threshold in (0.05, 0.5, 0.9):
        drawn = alpha(probability, threshold)
        assert (drawn[probability <= 0.2 * threshold] == 0).all()
        assert (np.diff(drawn) >= 0).all()
        assert drawn[probability >= threshold] == pytest.approx(drawn.max())
        assert 0.5 < drawn.max() < 0.9  # the tissue under it can still be seen
    assert alpha(np.array([np.nan]), 0.5) == 0
    assert np.isfinite(alpha(probability, 0.0)).all()


def test_what_is_surely_normal_or_was_not_scored_looks_as_it_is() -> None:
    tissue = (200, 120, 170)
    normal = _num(_pixels(heatmap(_slide(0.05), ["slide"])), tissue, within=0)
    assert normal == _num(_pixels(heatmap(_slide(float("nan")), ["slide"])), tissue, within=0)
    assert _num(_pixels(heatmap(_slide(0.9), ["slide"])), tissue, within=0) < 0.6 * normal  # the other panel is left


def test_the_known_outline_and_the_called_one_are_drawn_in_colours_of_their_own() -> None:
    plain = _pixels(heatmap(_slide(), ["slide"]))
    assert _num(plain, style.LESION) == 0
    hole = Outline(SQUARE, (SQUARE[::-1] / 2 + 120,))
    lesions, called = (_pixels(heatmap(replace(_slide(), **{name: [hole]}), ["s"])) for name in ("lesions", "called"))
    assert _num(lesions, style.LESION) > 1000
    assert _num(called, style.LESION) == 0
    assert _num(called, style.CALLED) > _num(plain, style.CALLED) + 500
    filled = _pixels(heatmap(replace(_slide(), lesions=[Outline(SQUARE)]), ["s"]))
    assert _num(filled, style.LESION) < _num(lesions, style.LESION)  # the hole is drawn, too


@pytest.mark.parametrize(
    ("most", "um", "text"), [(2.0, 5, "5 µm"), (19.9, 10, "10 µm"), (999, 500, "500 µm"), (1e9, 20000, "20 mm")]
)
def test_a_scale_bar_has_a_round_length(most: float, um: int, text: str) -> None:
    assert round_length_um(most) == um
    assert length(um) == text


@pytest.mark.parametrize("num", [1, 4, 7])
def test_tiles_are_drawn_with_their_place_framed(num: int) -> None:
    images = np.full((num, 96, 96, 3), (200, 120, 170), np.uint8)
    arguments = ([f"$_{n}" for n in range(num)], 1 / 3, 0.5, "slide")
    pixels = _pixels(slide_tiles.sheet(images, *arguments))
    whole = _pixels(slide_tiles.sheet(images, arguments[0], 1.0, *arguments[2:]))
    frames = [_num(each, (200, 120, 170), within=0) for each in (pixels, whole)]
    assert min(frames) > num * 50_000
    assert frames[0] != frames[1]
    assert pixels.shape[0] > 250 * -(-num // slide_tiles.COLUMNS)
