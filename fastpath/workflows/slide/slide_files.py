"""What is left of a scored slide: a table, pictures, GeoJSON for QuPath, and the facts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastpath.analysis.outlines import Outline
from fastpath.figures import slide_tiles, slide_viewer
from fastpath.figures.slide_map import SlideMap, heatmap
from fastpath.ingest.slide_pyramid import TILE_PX, Pyramid, jpeg
from fastpath.runs import output_place
from fastpath.system import json_values
from fastpath.workflows.slide import slide_geojson, slide_top
from fastpath.workflows.slide.slide_grid import Grid
from fastpath.workflows.slide.slide_top import TopTile

TILES, PICTURE, TOP_TILES, FACTS = "tiles.parquet", "heatmap.png", "top_tiles.png", "slide.json"
VIEWER = "viewer.html"
TILES_GEOJSON, TUMOUR_GEOJSON = "tiles.geojson", "tumour.geojson"


@dataclass(frozen=True, slots=True)
class Scored:
    """A slide with its scores.

    Attributes:
        grid: Cells that cover it.
        places_N2: int64 [N, 2], row and column of each cell that was scored.
        logits_N: float32 [N], not calibrated.
        probability_N: float64 [N], calibrated where the run is.
        lesions: Outlines of what is known to be tumour, in pixels of full resolution.
    """

    grid: Grid
    places_N2: NDArray[np.int64]
    logits_N: NDArray[np.float32]
    probability_N: NDArray[np.float64]
    lesions: Sequence[Outline]

    @property
    def map_HW(self) -> NDArray[np.float64]:
        """Probability of each cell of the grid; NaN where none was scored."""
        map_HW = np.full(self.grid.shape, np.nan)
        map_HW[self.places_N2[:, 0], self.places_N2[:, 1]] = self.probability_N
        return map_HW


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
        lesions=scored.lesions,
    )
    pictures = slide_top.pictures(grid, top)
    content = {
        TILES: _table(scored),
        TILES_GEOJSON: slide_geojson.of_tiles(grid, scored.places_N2, scored.probability_N, threshold),
        TUMOUR_GEOJSON: slide_geojson.of_areas(grid, areas),
        PICTURE: heatmap(shown, [title, *cautions]),
        TOP_TILES: _gallery(facts["image"], grid, top, *pictures),
        VIEWER: _viewer(shown, facts, grid, top, pictures[0]),
        FACTS: (json_values.dumps(facts) + "\n").encode(),
    }
    output_place.write_set(output, FACTS, content)


def _viewer(
    shown: SlideMap, facts: Mapping[str, Any], grid: Grid, top: Sequence[TopTile], images_NHWC: NDArray[np.uint8]
) -> bytes:
    pyramid = Pyramid(grid.slide)
    (width, height), (first, last) = pyramid.size_px, pyramid.levels
    levels = {"width": width, "height": height, "scale": pyramid.scale, "min_level": first, "max_level": last}
    tiles = [
        {**asdict(tile), "jpeg": jpeg(Image.fromarray(image))} for tile, image in zip(top, images_NHWC, strict=True)
    ]
    return slide_viewer.render(shown, facts, {**levels, "tile_px": TILE_PX}, dict(pyramid.tiles()), tiles)


def _gallery(image: str, grid: Grid, top: Sequence[TopTile], images_NHWC: NDArray[np.uint8], mpp: float) -> bytes:
    captions = [
        f"{rank}:  {tile.probability:.3f}   at {tile.x:,}, {tile.y:,} px" for rank, tile in enumerate(top, start=1)
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
