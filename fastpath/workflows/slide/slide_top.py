"""The tiles of a slide that are most likely tumour, for a person to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import slides
from fastpath.workflows.slide.slide_grid import Grid

NUM = 12
_ENLARGED = 3.0  # times finer than the network saw them, where the slide is


@dataclass(frozen=True, slots=True)
class TopTile:
    """A place to look at.

    Attributes:
        x: Its middle, in pixels of the file's first level.
        y: Likewise.
        probability: Of tumour.
    """

    x: int
    y: int
    probability: float


def choose(grid: Grid, places_N2: NDArray[np.int64], probability_N: NDArray[np.float64]) -> list[TopTile]:
    """Return the surest cells, each more than a tile's width from those before it."""
    kept = slides.detections(places_N2, probability_N, radius=grid.tile_px / grid.stride_px)[:NUM]
    middles_M2 = np.rint((places_N2[kept][:, ::-1] + 0.5) * grid.stride_px * grid.scale).astype(np.int64)
    return [
        TopTile(x, y, value) for (x, y), value in zip(middles_M2.tolist(), probability_N[kept].tolist(), strict=True)
    ]


def pictures(grid: Grid, tiles: Sequence[TopTile]) -> tuple[NDArray[np.uint8], float]:
    """Return the tiles around these places as finely as the slide shows them, and micrometres a pixel of them.

    Returns:
        uint8 [N, S, S, 3].
    """
    scale = max(1.0, grid.scale / _ENLARGED)
    side = round(grid.tile_px * grid.scale / scale)
    half = side * scale / 2
    images = [grid.slide.read(tile.x - half, tile.y - half, (side, side), scale) for tile in tiles]
    return np.stack(images), scale * grid.mpp
