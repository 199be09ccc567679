"""A slide's scores as GeoJSON that QuPath opens: every tile, and an outline around what is called tumour.

QuPath reads a `FeatureCollection` whose features tell in `properties` what kind of object each is (`objectType`), its
class with a colour (`classification`: `name`, `color`) and its numbers (`measurements`, a map from names to numbers);
so it does since version 0.4 (`PathObjectTypeAdapters` of its source). Coordinates are pixels of full resolution, (0, 0)
the corner of the image as QuPath shows it: where a file tells which part was scanned, the corner of that part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.outlines import Outline, Ring, trace
from fastpath.figures import style
from fastpath.workflows.slide.slide_grid import Grid

CLASSES = {"Tumor": [200, 0, 0], "Normal": style.rgb(style.NORMAL)}
"""Names and colours, red, green and blue, of the classes. `Tumor` is QuPath's own, with the colour that it gives it."""

TUMOUR, NORMAL = CLASSES


@dataclass(frozen=True, slots=True)
class Area:
    """Cells that touch and are all called tumour.

    Attributes:
        outline: In pixels of full resolution, within the slide.
        num_tiles: Cells.
        highest: Probability of the surest.
        mean: Their mean probability.
    """

    outline: Outline
    num_tiles: int
    highest: float
    mean: float


def called_areas(grid: Grid, map_HW: NDArray[np.float64], threshold: float) -> list[Area]:
    """Return the areas of cells of at least a probability, the surest first.

    Args:
        grid: Where the cells lie.
        map_HW: Probability of each; NaN where none was scored.
        threshold: From which a cell is called tumour.
    """
    areas = []
    for outline, places_M2 in trace(np.nan_to_num(map_HW, nan=-1.0) >= threshold):
        probability_M = map_HW[places_M2[:, 0], places_M2[:, 1]]
        placed = Outline(_placed(grid, outline.exterior), tuple(_placed(grid, hole) for hole in outline.holes))
        areas.append(Area(placed, len(places_M2), float(probability_M.max()), float(probability_M.mean())))
    return sorted(areas, key=lambda area: (-area.highest, -area.num_tiles))


def _placed(grid: Grid, corners: Ring) -> Ring:
    """Return corners of cells as pixels of full resolution; the last cells end where the slide does."""
    placed: Ring = np.minimum(corners * grid.stride_px * grid.scale, grid.slide.size_px)
    return placed


def of_areas(grid: Grid, areas: Sequence[Area]) -> bytes:
    """Return areas as annotations of class Tumor, with their highest and mean probability and number of tiles."""
    features = []
    for number, area in enumerate(areas, start=1):
        rings = [_closed(grid, ring) for ring in (area.outline.exterior, *area.outline.holes)]
        measurements = {"highest probability": area.highest, "mean probability": area.mean, "tiles": area.num_tiles}
        features.append(_feature("annotation", TUMOUR, rings, measurements, name=f"fastpath {number}"))
    return _collection(features)


def of_tiles(grid: Grid, places_N2: NDArray[np.int64], probability_N: NDArray[np.float64], threshold: float) -> bytes:
    """Return the cells as tiles, a kind of detection in QuPath, with their probability and the class it comes to.

    It is the cell that is drawn, of which the score speaks, not the larger tile that was seen around it: cells do not
    overlap.
    """
    corners_N42 = places_N2[:, None, ::-1] + np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    rings_N = _closed(grid, _placed(grid, corners_N42.astype(np.float64)))
    return _collection(
        _feature("tile", TUMOUR if value >= threshold else NORMAL, [ring], {"probability": value})
        for ring, value in zip(rings_N, probability_N.tolist(), strict=True)
    )


def _closed(grid: Grid, rings: NDArray[np.float64]) -> list[Any]:
    """Return rings [..., M, 2] as GeoJSON has them: the first corner again at the end; hundredths, as QuPath writes."""
    moved = np.round(rings - np.array(grid.slide.bounds_corner_px), 2)
    corners: list[Any] = np.concatenate([moved, moved[..., :1, :]], axis=-2).tolist()
    return corners


def _feature(
    kind: str, name_of_class: str, rings: list[Any], measurements: dict[str, float], **more: str
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": kind,
            **more,
            "classification": {"name": name_of_class, "color": CLASSES[name_of_class]},
            "measurements": {name: round(value, 6) for name, value in measurements.items()},
        },
    }


def _collection(features: Iterable[dict[str, Any]]) -> bytes:
    """Return a collection, a line a feature: a slide has some 100,000 tiles, which one can look for line by line."""
    lines = ",\n".join(json.dumps(feature, separators=(",", ":")) for feature in features)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'.encode()
