"""Outlines of lesions as people draw them: QuPath's GeoJSON, the XML of ASAP, a table of corners."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from fastpath.analysis.outlines import Outline, Ring
from fastpath.errors import DataError
from fastpath.system.files import read_regular

TUMOUR_CLASSES = ("tumor", "tumour", "metastasis", "lesion")
"""Classes of QuPath, in lower case, whose annotations are lesions; so are those without a class."""

_BYTES_MAX = 1 << 28  # CAMELYON16's largest has 2 MB
_CUT_GROUPS = ("_2", "Exclusion")  # of CAMELYON16: what is no tumour within the outline of one
_OBJECTS = ("detection", "tile", "cell", "tmaCore", "tma_core", "root")  # of QuPath, beside annotations
_OLD_OBJECTS = ("PathDetectionObject", "PathTileObject", "PathCellObject", "TMACoreObject", "PathRootObject")


@dataclass(frozen=True, slots=True)
class OutlineFile:
    """What a file of outlines holds, in pixels of full resolution.

    Attributes:
        areas: Lesions; they may overlap.
        cuts: What is no lesion, although an outline runs around it.
        left_out: What else it holds, in words; empty where there is nothing.
    """

    areas: list[Outline]
    cuts: list[Outline]
    left_out: str = ""


def is_outline_file(path: Path) -> bool:
    """Whether a file of this name is read as outlines; any other is an image."""
    return path.suffix.lower() in _READERS


def is_of_qupath(path: Path) -> bool:
    """Whether a file of this name is read as QuPath's."""
    return path.suffix.lower() in (".geojson", ".json")


def read(path: Path) -> OutlineFile:
    """Read a file of outlines by its suffix: `.geojson` or `.json` of QuPath, `.xml` of ASAP, `.csv` of corners.

    Raises:
        DataError: It cannot be read, or holds no lesion that has an area.
    """
    reader, wanted = _READERS[path.suffix.lower()]
    content = read_regular(path, bytes_max=_BYTES_MAX, follow=True, kind=DataError)
    try:
        result = reader(content)
        for outline in (*result.areas, *result.cuts):
            if not all(np.isfinite(ring).all() for ring in (outline.exterior, *outline.holes)):
                raise ValueError("a coordinate is not finite")
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        csv.Error,
        ElementTree.ParseError,
    ) as error:
        text = " ".join(f"{type(error).__name__}: {error}"[:200].split())
        raise DataError(path, f"cannot be read ({text}), wanted {wanted}", "correct the file") from None
    if not result.areas:
        problem = f"found no lesion{f', but {result.left_out}' if result.left_out else ''}, wanted outlines"
        raise DataError(path, problem, "draw one around each lesion, or give 'none' where there is none")
    return result


def _ring(corners: Any) -> Ring:  # noqa: ANN401 (whatever JSON holds)
    """Return a ring without its first corner repeated at the end.

    Raises:
        ValueError: It has fewer than three corners.
    """
    ring = np.array([[float(value) for value in corner[:2]] for corner in corners], np.float64).reshape(-1, 2)
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise ValueError("an outline has fewer than 3 corners")
    return ring


def _table(content: bytes) -> OutlineFile:
    corners: dict[str, list[tuple[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")):
        corners.setdefault(row["lesion"], []).append((row["x"], row["y"]))
    return OutlineFile([Outline(_ring(each)) for each in corners.values()], [])


def _asap(content: bytes) -> OutlineFile:
    outlines = OutlineFile([], [])
    for annotation in ElementTree.fromstring(content).iter("Annotation"):
        corners = sorted(annotation.iter("Coordinate"), key=lambda corner: int(corner.attrib["Order"]))
        outline = Outline(_ring([(corner.attrib["X"], corner.attrib["Y"]) for corner in corners]))
        cut = annotation.attrib.get("PartOfGroup") in _CUT_GROUPS
        (outlines.cuts if cut else outlines.areas).append(outline)
    return outlines


def _qupath(content: bytes) -> OutlineFile:
    areas: list[Outline] = []
    left_out: Counter[str] = Counter()
    for feature in _features(json.loads(content)):
        kind = _left_out_as(feature)
        outlines = list(_polygons(feature["geometry"])) if not kind else []
        areas += outlines
        if not outlines:
            left_out[kind or "of lines and points, which have no area"] += 1
    text = ", ".join(f"{number:,} {kind}" for kind, number in sorted(left_out.items()))
    return OutlineFile(areas, [], f"{text} (lesions are annotations without a class or of Tumor)" if text else "")


def _features(document: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 (whatever JSON holds)
    """Yield the features of a collection, of a bare list as QuPath exports it too, or the only one."""
    if isinstance(document, list):
        features = document
    elif document["type"] == "FeatureCollection":
        features = document["features"]
    else:
        features = [document]
    for feature in features:
        if feature["type"] != "Feature":
            raise ValueError(f"found a {str(feature['type'])[:40]}, wanted features")
        yield feature


def _left_out_as(feature: Mapping[str, Any]) -> str:
    """Return in words what a feature is that is no lesion; empty where it may be one.

    Since version 0.3 QuPath tells an object's kind in `objectType` (0.3.0: `object_type`), before in `id`.
    """
    properties = feature.get("properties") or {}
    kind = properties.get("objectType", properties.get("object_type", ""))
    if kind in _OBJECTS or feature.get("id") in _OLD_OBJECTS:
        return "objects that are no annotations"
    classification = properties.get("classification") or {}
    names = classification.get("names") or [classification.get("name") or ""]  # a derived class: Tumor: Positive
    base = str(names[0]).partition(":")[0].strip()
    return "" if not base or base.lower() in TUMOUR_CLASSES else f"annotations of class '{base[:40]}'"


def _polygons(geometry: Mapping[str, Any]) -> Iterator[Outline]:
    """Yield the areas of a geometry; lines and points have none."""
    if geometry["type"] == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _polygons(part)
    elif geometry["type"] in ("Polygon", "MultiPolygon"):
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for exterior, *holes in filter(None, polygons):
            yield Outline(_ring(exterior), tuple(_ring(hole) for hole in holes))
    elif geometry["type"] not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise ValueError(f"found a geometry '{str(geometry['type'])[:40]}'")


_READERS: Mapping[str, tuple[Callable[[bytes], OutlineFile], str]] = {
    ".csv": (_table, "a table of lesion,x,y"),
    ".xml": (_asap, "annotations as ASAP writes them"),
    ".geojson": (_qupath, "GeoJSON as QuPath exports it"),
    ".json": (_qupath, "GeoJSON as QuPath exports it"),
}
