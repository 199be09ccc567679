"""Outlines of lesions in every form that people draw them in, and in forms that nobody should be able to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastpath.errors import DataError
from fastpath.ingest import outline_files

SQUARE = [[10.0, 20.0], [50.0, 20.0], [50.0, 60.0], [10.0, 60.0]]
HOLE = [[20.0, 30.0], [20.0, 40.0], [30.0, 40.0], [30.0, 30.0]]


def _closed(ring: list[list[float]]) -> list[list[float]]:
    return [*ring, ring[0]]


POLYGON = {"type": "Polygon", "coordinates": [_closed(SQUARE), _closed(HOLE)]}
MULTI = {"type": "MultiPolygon", "coordinates": [[_closed(SQUARE), _closed(HOLE)], [_closed(HOLE)]]}
LINE = {"type": "LineString", "coordinates": SQUARE}


def _feature(geometry: Any = POLYGON, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation", **properties}}


def _of(name: str) -> dict[str, Any]:
    return {"name": name, "color": [200, 0, 0]}


def _read(tmp_path: Path, document: Any, suffix: str = ".geojson") -> outline_files.OutlineFile:
    path = tmp_path / f"lesions{suffix}"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return outline_files.read(path)


FORMS = {
    "a collection": {"type": "FeatureCollection", "features": [_feature()]},
    "a bare list": [_feature()],
    "one feature": _feature(),
    "a class": [_feature(classification=_of("Tumor"))],
    "a class of another spelling": [_feature(classification=_of("tumour"))],
    "a derived class": [_feature(classification={"names": ["Tumor", "Positive"], "color": [1, 2, 3]})],
    "a derived class of version 0.3": [_feature(classification={"name": "Tumor: Positive", "colorRGB": -3670016})],
    "version 0.2": [{"type": "Feature", "id": "PathAnnotationObject", "geometry": POLYGON, "properties": {}}],
    "version 0.3.0": [{"type": "Feature", "geometry": POLYGON, "properties": {"object_type": "annotation"}}],
    "no properties": [{"type": "Feature", "geometry": POLYGON, "properties": None}],
    "a collection of geometries": [_feature({"type": "GeometryCollection", "geometries": [POLYGON, LINE]})],
    "three coordinates": [_feature({"type": "Polygon", "coordinates": [[[*c, 0] for c in _closed(SQUARE)], HOLE]})],
    "rings left open": [_feature({"type": "Polygon", "coordinates": [SQUARE, HOLE]})],
    "unknown members": {"type": "FeatureCollection", "crs": {}, "features": [_feature() | {"nucleusGeometry": LINE}]},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".geojson", ".json"])
def test_a_polygon_with_a_hole_is_read_in_every_form_that_qupath_writes(form: str, suffix: str, tmp_path: Path) -> None:
    outlines = _read(tmp_path, FORMS[form], suffix)
    (area,) = outlines.areas
    np.testing.assert_array_equal(area.exterior, SQUARE)
    np.testing.assert_array_equal(area.holes, [HOLE])
    assert (outlines.cuts, outlines.left_out) == ([], "")


def test_parts_of_a_multipolygon_are_areas_of_their_own(tmp_path: Path) -> None:
    outlines = _read(tmp_path, [_feature(MULTI)])
    assert [(len(area.exterior), len(area.holes)) for area in outlines.areas] == [(4, 1), (4, 0)]


def test_what_is_no_lesion_is_left_out_and_told(tmp_path: Path) -> None:
    others = [
        *[_feature(classification=_of(name)) for name in ("Stroma", "Ignore*", "Stroma")],
        _feature() | {"properties": {"objectType": "detection", "classification": _of("Tumor")}},
        _feature() | {"properties": {"objectType": "tile"}},
        {"type": "Feature", "id": "PathDetectionObject", "geometry": POLYGON, "properties": {}},
        _feature(LINE),
        _feature({"type": "Point", "coordinates": [1, 2]}, classification=_of("Tumor")),
    ]
    outlines = _read(tmp_path, [_feature(), *others])
    assert len(outlines.areas) == 1
    assert "1 annotations of class 'Ignore*', 2 annotations of class 'Stroma'" in outlines.left_out
    assert "3 objects that are no annotations" in outlines.left_out
    assert "2 of lines and points" in outlines.left_out
    with pytest.raises(DataError, match=r"found no lesion, but 1 annotations of class 'Ignore\*'"):
        _read(tmp_path, others)


def test_asap_cuts_what_is_of_the_group_for_it(tmp_path: Path) -> None:
    """CAMELYON16 draws what is no tumour within a lesion as an annotation of group _2."""

    def annotation(group: str, ring: list[list[float]]) -> str:
        corners = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in reversed([*enumerate(ring)]))
        return f'<Annotation PartOfGroup="{group}"><Coordinates>{corners}</Coordinates></Annotation>'

    text = "".join(annotation(group, ring) for group, ring in (("_0", SQUARE), ("_2", HOLE), ("Tumor", HOLE)))
    outlines = _read(tmp_path, f"<ASAP_Annotations><Annotations>{text}</Annotations></ASAP_Annotations>", ".xml")
    assert ([len(outlines.areas), len(outlines.cuts)]) == [2, 1]
    np.testing.assert_array_equal(outlines.areas[0].exterior, SQUARE)
    np.testing.assert_array_equal(outlines.cuts[0].exterior, HOLE)


def test_a_table_holds_corners_in_order(tmp_path: Path) -> None:
    rows = "".join(f"{name},{x},{y}\n" for name in "ab" for x, y in SQUARE)
    assert [area.exterior.tolist() for area in _read(tmp_path, f"lesion,x,y\n{rows}", ".csv").areas] == [SQUARE, SQUARE]


WRONG = {
    "not JSON": ("{", ".geojson", "wanted GeoJSON as QuPath exports it"),
    "a number": (4, ".json", "wanted GeoJSON"),
    "null": (None, ".json", "wanted GeoJSON"),
    "a list of numbers": ([1, 2], ".json", "wanted GeoJSON"),
    "a bare geometry": (POLYGON, ".geojson", "found a Polygon, wanted features"),
    "no geometry": ([{"type": "Feature", "properties": {}}], ".geojson", "geometry"),
    "a geometry of null": ([_feature(None)], ".geojson", "wanted GeoJSON"),
    "an unknown geometry": ([_feature({"type": "Circle", "coordinates": []})], ".geojson", "geometry 'Circle'"),
    "two corners": ([_feature({"type": "Polygon", "coordinates": [SQUARE[:2]]})], ".geojson", "fewer than 3 corners"),
    "one coordinate": ([_feature({"type": "Polygon", "coordinates": [[[1], [2], [3]]]})], ".geojson", "wanted GeoJSON"),
    "NaN": ([_feature({"type": "Polygon", "coordinates": [[[np.nan, 1], [2, 2], [3, 3]]]})], ".json", "not finite"),
    "letters": ([_feature({"type": "Polygon", "coordinates": [["ab", "cd", "ef"]]})], ".json", "wanted GeoJSON"),
    "deeply nested": ("[" * 100_000, ".json", "wanted GeoJSON"),
    "nothing": ({"type": "FeatureCollection", "features": []}, ".geojson", "found no lesion, wanted outlines"),
    "an empty polygon": ([_feature({"type": "Polygon", "coordinates": []})], ".geojson", "found no lesion"),
    "a table without corners": ("lesion,x,y\n", ".csv", "found no lesion"),
    "a table of other columns": ("a,b\n1,2\n", ".csv", "wanted a table of lesion,x,y"),
    "two corners in a table": ("lesion,x,y\na,1,2\na,3,4\n", ".csv", "fewer than 3 corners"),
    "not XML": ("<", ".xml", "wanted annotations as ASAP writes them"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_outline_is_one_line(case: str, tmp_path: Path) -> None:
    document, suffix, phrase = WRONG[case]
    with pytest.raises(DataError) as caught:
        _read(tmp_path, document, suffix)
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
