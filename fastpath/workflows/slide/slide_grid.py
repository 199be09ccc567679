"""Where the tiles of a slide lie, and the tiles as patches that the evaluation graph can be fed with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import DataError, UsageError
from fastpath.ingest.slide_reader import SlideReader, tissue_share
from fastpath.ingest.stain import normaliser

OVERVIEW_PX = 4096  # longest side of an overview
_CELL_PX = (16, 8, 4, 2, 1)  # pixels of the overview a cell, the largest that fits


@dataclass(frozen=True)
class Grid:
    """Cells that cover a slide; each is scored by the tile in whose middle it lies.

    Attributes:
        slide: The slide.
        tile_px: Side of a tile, as the network's patches.
        stride_px: Side of a cell, in pixels of a tile.
        scale: Pixels of full resolution a pixel of a tile.
        mpp: Micrometres a pixel of full resolution.
    """

    slide: SlideReader
    tile_px: int
    stride_px: int
    scale: float
    mpp: float

    @property
    def tile_mpp(self) -> float:
        """Micrometres a pixel of a tile."""
        return self.scale * self.mpp

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        width, height = (int(np.ceil(side / (self.stride_px * self.scale) - 1e-6)) for side in self.slide.size_px)
        return height, width

    @property
    def cell_px(self) -> int:
        """Side of a cell in the overview."""
        longest = max(self.shape)
        return next((side for side in _CELL_PX if side * longest <= OVERVIEW_PX), 1)

    @cached_property
    def overview(self) -> NDArray[np.uint8]:
        """The slide, uint8 [rows·cell_px, columns·cell_px, 3]."""
        rows, columns = self.shape
        size_px = (columns * self.cell_px, rows * self.cell_px)
        return self.slide.overview(size_px, self.stride_px * self.scale / self.cell_px)

    def places(self, min_tissue: float) -> NDArray[np.int64]:
        """Return row and column of each cell with tissue, int64 [N, 2].

        Raises:
            DataError: There is none.
        """
        places_N2: NDArray[np.int64] = np.argwhere(tissue_share(self.overview, self.cell_px) >= min_tissue)
        if not len(places_N2):
            raise DataError(self.slide.path, f"found no cell with {min_tissue:.0%} of tissue", "lower --min-tissue")
        return places_N2

    def corners(self, places_N2: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return x and y of each tile's upper left corner, in pixels of full resolution; may lie outside the slide."""
        margin = (self.tile_px - self.stride_px) / 2
        xy_N2 = places_N2[:, ::-1].astype(np.float64) * self.stride_px - margin
        corners_N2: NDArray[np.float64] = xy_N2 * self.scale
        return corners_N2


def lay_grid(slide: SlideReader, tile_px: int, tile_mpp: float, mpp: float | None, stride_px: int | None) -> Grid:
    """Lay a grid over a slide.

    Args:
        slide: The slide.
        tile_px: Side of a tile.
        tile_mpp: Micrometres a pixel that the network was trained at.
        mpp: Those of the slide's full resolution; None takes what the file tells.
        stride_px: Side of a cell; None is a third of a tile, the part that the label speaks of.

    Raises:
        UsageError: The slide's scale is unknown or too coarse, or the stride is larger than a tile.
    """
    known = mpp or slide.mpp
    if known is None:
        raise UsageError(slide.path, "does not tell how large its pixels are", "give micrometres a pixel with --mpp")
    if known > tile_mpp * 1.2:
        problem = f"found {known:g} µm a pixel, wanted {tile_mpp:g} or finer, as the network was trained at"
        raise UsageError(slide.path, problem, "scan it finer, or correct --mpp or --tile-mpp")
    stride_px = stride_px or max(1, round(tile_px / 3))
    if stride_px > tile_px:
        problem = f"found {stride_px}, wanted at most the tile's {tile_px}, or tissue is left out"
        raise UsageError("--stride", problem, "choose a smaller one")
    return Grid(slide, tile_px, stride_px, slide.snapped(tile_mpp / known), known)


@dataclass(frozen=True)
class Tiles:
    """The tiles of a slide's cells as patches without labels, read when asked for.

    Attributes:
        grid: Where they lie.
        places_N2: int64 [N, 2], row and column of each.
        pool: Reads several at once.
        stain: How to normalise their stains, as those of the network's patches were.
    """

    grid: Grid
    places_N2: NDArray[np.int64]
    pool: ThreadPoolExecutor
    stain: str

    @cached_property
    def labels_N(self) -> NDArray[np.int8]:
        """Label of each tile: unknown."""
        return np.full(len(self.places_N2), -1, np.int8)

    @property
    def patch_size_px(self) -> int:
        """Side of a tile."""
        return self.grid.tile_px

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return these tiles, uint8 [N, P, P, 3]."""
        side = self.grid.tile_px
        buffer = np.empty((len(indices_N), side, side, 3), np.uint8) if out_NHWC is None else out_NHWC
        corners_N2 = self.grid.corners(self.places_N2[indices_N])
        normalise = normaliser(self.stain, self.grid.slide.path)

        def read(number: int) -> None:
            left, top = corners_N2[number]
            buffer[number] = normalise(self.grid.slide.read(left, top, (side, side), self.grid.scale))

        list(self.pool.map(read, range(len(indices_N))))
        return buffer
