"""What `fastpath slide` writes for QuPath: held against how QuPath reads it, and read back as lesions."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from fastpath.workflows.slide import slide_geojson, slide_lesions
from fastpath.workflows.slide.slide_grid import Grid


# QuPath's reading of GeoJSON, version 0.4 and later, as its source has it (`PathObjectTypeAdapters`, `ROITypeAdapters`
# and `GsonTools.PathClassTypeAdapter` of qupath-core): what it takes, without what it merely forgives.
class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Corner = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]
Ring = Annotated[list[Corner], Field(min_length=4)]


class Geometry(_Strict):
    """A polygon; JTS, which QuPath builds it with, refuses a ring that does not end where it began."""

    type: Literal["Polygon"]
    coordinates: Annotated[list[Ring], Field(min_length=1)]

    @model_validator(mode="after")
    def _closed(self) -> Geometry:
        assert all(ring[0] == ring[-1] for ring in self.coordinates)
        return self


class Classification(_Strict):
    """A class by its name; a colour is three numbers, red, green and blue."""

    name: Annotated[str, Field(min_length=1, pattern="^[^:]+$")]  # a colon would make a derived class
    color: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]


class Properties(_Strict):
    """What QuPath makes of an object beside its shape."""

    objectType: Literal["annotation", "detection", "tile", "cell", "tmaCore", "root"]
    classification: Classification
    measurements: dict[str, FiniteFloat]  # since 0.4 a map; a list of pairs before
    name: str | None = None


class Feature(_Strict):
    """An object. An `id` would have to be a UUID; QuPath gives one where there is none."""

    type: Literal["Feature"]
    geometry: Geometry
    properties: Properties


class FeatureCollection(_Strict):
    """What `File > Import objects` reads."""

    type: Literal["FeatureCollection"]
    features: list[Feature]


def _grid(shape: tuple[int, int] = (12, 16), corner: tuple[int, int] = (0, 0), scale: float = 4.0) -> Grid:
    """Cells of 32 pixels of a tile, over a slide whose last row and column of cells are cut."""
    size_px = tuple(int(number * 32 * scale) - int(10 * scale) for number in shape[::-1])
    slide = SimpleNamespace(size_px=size_px, bounds_corner_px=corner, path=Path("slide.mrxs"))
    grid = Grid(cast("Any", slide), tile_px=96, stride_px=32, scale=scale, mpp=0.25)
    assert grid.shape == shape
    return grid


def _map(grid: Grid, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    map_HW = rng.random(grid.shape).round(3)
    map_HW[rng.random(grid.shape) < 0.2] = np.nan
    return map_HW


def _scored(map_HW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places_N2 = np.argwhere(~np.isnan(map_HW))
    return places_N2, map_HW[places_N2[:, 0], places_N2[:, 1]]


def test_tiles_and_areas_are_what_qupath_reads() -> None:
    grid = _grid()
    map_HW = _map(grid)
    tiles = slide_geojson.of_tiles(grid, *_scored(map_HW), 0.5)
    areas = slide_geojson.of_areas(grid, slide_geojson.called_areas(grid, map_HW, 0.5))
    for content, kinds in ((tiles, {"tile"}), (areas, {"annotation"})):
        collection = FeatureCollection.model_validate_json(content)
        assert {each.properties.objectType for each in collection.features} == kinds
        corners = np.array(
            [corner for each in collection.features for ring in each.geometry.coordinates for corner in ring]
        )
        assert (corners >= 0).all()
        assert (corners <= grid.slide.size_px).all()
    with pytest.raises(ValueError, match="color"):
        FeatureCollection.model_validate_json(tiles.replace(b'"color":[200,0,0]', b'"colorRGB":-3670016'))


def test_every_tile_has_its_score_its_class_and_its_place() -> None:
    grid = _grid()
    places_N2, probability_N = _scored(_map(grid))
    features = json.loads(slide_geojson.of_tiles(grid, places_N2, probability_N, 0.5))["features"]
    assert [each["properties"]["measurements"] for each in features] == [{"probability": p} for p in probability_N]
    names = ["Tumor" if value >= 0.5 else "Normal" for value in probability_N]
    assert [each["properties"]["classification"]["name"] for each in features] == names
    for each, (row, column) in zip(features, places_N2, strict=True):
        corners = np.array(each["geometry"]["coordinates"][0])
        assert corners.min(axis=0).tolist() == [column * 128, row * 128]
        assert (
            corners.max(axis=0).tolist()
            == np.minimum([column * 128 + 128, row * 128 + 128], grid.slide.size_px).tolist()
        )


def test_areas_are_named_from_the_surest_and_told_in_numbers() -> None:
    grid = _grid((3, 6))
    map_HW = np.full(grid.shape, 0.1)
    map_HW[0, 0], map_HW[2, 3:5] = 0.7, (0.9, 0.6)
    features = json.loads(slide_geojson.of_areas(grid, slide_geojson.called_areas(grid, map_HW, 0.6)))["features"]
    names_and_measurements = [(each["properties"]["name"], each["properties"]["measurements"]) for each in features]
    assert names_and_measurements == [
        ("fastpath 1", {"highest probability": 0.9, "mean probability": 0.75, "tiles": 2}),
        ("fastpath 2", {"highest probability": 0.7, "mean probability": 0.7, "tiles": 1}),
    ]


def test_coordinates_begin_where_qupath_crops_a_slide() -> None:
    """Of a file that tells its bounds QuPath shows the part within them: (0, 0) is their corner."""
    map_HW = _map(_grid())
    plain, moved = (
        json.loads(slide_geojson.of_tiles(grid, *_scored(map_HW), 0.5))["features"][0]["geometry"]["coordinates"]
        for grid in (_grid(), _grid(corner=(700, 1300)))
    )
    np.testing.assert_allclose(np.array(plain) - np.array(moved), np.broadcast_to([700, 1300], np.shape(plain)))


MAPS = arrays(float, (6, 7), elements=st.sampled_from([0.2, 0.5, 0.9, float("nan")]))


@given(MAPS, st.sampled_from([(0, 0), (333, 70)]), st.sampled_from([1.0, 2.13, 4.0]))
def test_what_is_written_comes_back_as_the_same_lesions(
    tmp_path_factory: pytest.TempPathFactory, map_HW: np.ndarray, corner: tuple[int, int], scale: float
) -> None:
    """The middle of every cell that is called tumour lies in a lesion and that of no other."""
    grid = _grid((6, 7), corner, scale)
    areas = slide_geojson.called_areas(grid, map_HW, 0.5)
    if not areas:
        return
    path = tmp_path_factory.mktemp("round") / "tumour.geojson"
    path.write_bytes(slide_geojson.of_areas(grid, areas))
    known = slide_lesions.known_tumour(path, grid)
    mask = known.mask_HW
    assert known.left_out == ""
    for outline, area in zip(known.outlines, areas, strict=True):
        np.testing.assert_allclose(outline.exterior, area.outline.exterior, atol=0.01)
    called_HW = np.nan_to_num(map_HW, nan=0.0) >= 0.5
    wanted = called_HW.repeat(4, axis=0).repeat(4, axis=1)[: mask.shape[0], : mask.shape[1]]
    np.testing.assert_array_equal(mask[1::4, 1::4], wanted[1::4, 1::4])
    np.testing.assert_array_equal(mask[2::4, 2::4], wanted[2::4, 2::4])
    assert np.mean(mask != wanted) < 0.15  # a pixel of the mask at the rim at most


def test_a_slide_without_tumour_has_no_areas() -> None:
    grid = _grid()
    content = slide_geojson.of_areas(grid, slide_geojson.called_areas(grid, _map(grid), 2.0))
    assert FeatureCollection.model_validate_json(content).features == []
