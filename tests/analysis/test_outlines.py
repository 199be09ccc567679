"""Outlines of masks: each area once, simple rings, and filling them gives the mask back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from scipy import ndimage

from fastpath.analysis.outlines import Outline, trace

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def _filled(outlines: list[Outline], shape: tuple[int, int]) -> np.ndarray:
    """Which pixels have their middle inside an exterior and outside its holes."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    middles = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
    filled = np.zeros(shape, int)
    for outline in outlines:
        inside = Polygon(outline.exterior).contains_points(middles)
        for hole in outline.holes:
            inside &= ~Polygon(hole).contains_points(middles)
        filled += inside.reshape(shape)
    return filled


@given(MASKS)
def test_filling_the_outlines_gives_the_mask_back(mask: np.ndarray) -> None:
    outlines = [outline for outline, _ in trace(mask)]
    assert len(outlines) == ndimage.label(mask)[1]
    np.testing.assert_array_equal(_filled(outlines, mask.shape), mask.astype(int))


@given(MASKS)
def test_rings_are_simple_and_turn_at_every_corner(mask: np.ndarray) -> None:
    for outline, places in trace(mask):
        assert mask[places[:, 0], places[:, 1]].all()
        for number, ring in enumerate((outline.exterior, *outline.holes)):
            assert len(np.unique(ring, axis=0)) == len(ring) >= 4
            steps = np.roll(ring, -1, axis=0) - ring
            assert ((steps != 0).sum(axis=1) == 1).all()  # along the edges of pixels
            assert ((steps[:, 0] != 0) != (np.roll(steps, 1, axis=0)[:, 0] != 0)).all()
            area = (ring[:, 0] * np.roll(ring[:, 1], -1) - ring[:, 1] * np.roll(ring[:, 0], -1)).sum() / 2
            assert (area > 0) == (number == 0)


@pytest.mark.parametrize(
    ("rows", "num_areas", "num_holes"),
    [
        (["#"], 1, 0),
        (["#.", ".#"], 2, 0),  # a corner does not join
        (["###", "#.#", "###"], 1, 1),
        (["#####", "#.#.#", "#####"], 1, 2),
        (["####", "#.##", "##.#", "####"], 1, 2),  # holes that touch at a corner are two
        (["####", "#..#", "#.##", "##.."], 1, 1),
        (["...", "..."], 0, 0),
    ],
)
def test_areas_and_holes_are_counted(rows: list[str], num_areas: int, num_holes: int) -> None:
    outlines = [outline for outline, _ in trace(np.array([[letter == "#" for letter in row] for row in rows]))]
    assert (len(outlines), sum(len(outline.holes) for outline in outlines)) == (num_areas, num_holes)
