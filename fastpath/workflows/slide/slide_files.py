"""What is left of a scored slide: a table, pictures, GeoJSON for QuPath, and the facts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.outlines import Outline, trace
from fastpath.figures import slide_tiles
from fastpath.figures.slide_map import SlideMap, heatmap
from fastpath.runs import output_place
from fastpath.system import json_values
from fastpath.workflows.slide import slide_geojson, slide_top
from fastpath.workflows.slide.slide_grid import Grid
from fastpath.workflows.slide.slide_lesions import LESION_PX
from fastpath.workflows.slide.slide_top import TopTile

TILES, PICTURE, TOP_TILES, FACTS = "tiles.parquet", "heatmap.png", "top_tiles.png", "slide.json"
TILES_GEOJSON, TUMOUR_GEOJSON = "tiles.geojson", "tumour.geojson"


@dataclass(frozen=True, slots=True)
class Scored:
    """A slide with its scores.

    Attributes:
        grid: Cells that cover it.
        places_N2: int64 [N, 2], row and column of each cell that was scored.
        logits_N: float32 [N], not calibrated.
        probability_N: float64 [N], calibrated where the run is.
        lesions_HW: Where tumour is known to be (`slide_lesions.lesion_mask`); None where that is not known.
    """

    grid: Grid
    places_N2: NDArray[np.int64]
    logits_N: NDArray[np.float32]
    probability_N: NDArray[np.float64]
    lesions_HW: NDArray[np.bool_] | None

    @property
    def map_HW(self) -> NDArray[np.float64]:
        """Probability of each cell of the grid; NaN where none was scored."""
        map_HW = np.full(self.grid.shape, np.nan)
        map_HW[self.places_N2[:, 0], self.places_N2[:, 1]] = self.probability_N
        return map_HW

    def known_outlines(self) -> list[Outline]:
        """Return outlines of the lesions, in pixels of full resolution, to a pixel of their mask."""
        if self.lesions_HW is None:
            return []
        scale = LESION_PX * self.grid.scale
        traced = (outline for outline, _ in trace(self.lesions_HW))
        return [Outline(one.exterior * scale, tuple(hole * scale for hole in one.holes)) for one in traced]


def write(output: Path, facts: Mapping[str, Any], scored: Scored, top: Sequence[TopTile]) -> None:
    """Write all files of a slide as a set.

    Args:
        output: The directory to write to.
        facts: Plain values of a `slide.SlideResult`: what slide.json holds.
        scored: The slide.
        top: Its surest tiles.

    Raises:
        FastpathError: A file cannot be written; an older set is still whole.
    """
    grid, threshold = scored.grid, facts["threshold"]
    areas = slide_geojson.called_areas(grid, scored.map_HW, threshold)
    title = f"{facts['image']}: {facts['num_tiles']:,} tiles, surest {facts['scores']['max']:.3f}"
    cautions = [f"{each['about']}: {each['text']}" for each in facts["verdicts"] if each["caution"]]
    shown = SlideMap(
        overview=grid.overview,
        map_HW=scored.map_HW,
        cell_px=grid.stride_px * grid.scale,
        mpp=grid.mpp,
        threshold=threshold,
        called=[area.outline for area in areas],
        lesions=scored.known_outlines(),
    )
    content = {
        TILES: _table(scored),
        TILES_GEOJSON: slide_geojson.of_tiles(grid, scored.places_N2, scored.probability_N, threshold),
        TUMOUR_GEOJSON: slide_geojson.of_areas(grid, areas),
        PICTURE: heatmap(shown, [title, *cautions]),
        TOP_TILES: _gallery(facts["image"], grid, top),
        FACTS: (json_values.dumps(facts) + "\n").encode(),
    }
    output_place.write_set(output, FACTS, content)


def _gallery(image: str, grid: Grid, top: Sequence[TopTile]) -> bytes:
    images_NHWC, mpp = slide_top.pictures(grid, top)
    captions = [
        f"{rank}:  {tile.probability:.3f}   at {tile.x:,}, {tile.y:,}" for rank, tile in enumerate(top, start=1)
    ]
    title = f"{image}: the surest tiles, with the place that each probability speaks of"
    return slide_tiles.sheet(images_NHWC, captions, grid.stride_px / grid.tile_px, mpp, title)


def _table(scored: Scored) -> bytes:
    """Return a row a tile as Parquet; x and y are pixels of the file's first level."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    corners_N2 = np.rint(scored.grid.corners(scored.places_N2)).astype(np.int64)
    columns = {
        "x": corners_N2[:, 0],
        "y": corners_N2[:, 1],
        "row": scored.places_N2[:, 0],
        "column": scored.places_N2[:, 1],
        "logit": scored.logits_N,
        "probability": scored.probability_N,
    }
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()
