"""Read where a slide's lesions lie: a mask, polygons in a table, or ASAP's annotation file."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastpath.errors import DataError
from fastpath.ingest.slide_reader import SlideReader, open_slide

Polygon = list[tuple[float, float]]


def read_mask(path: Path, slide: SlideReader, size_px: tuple[int, int], scale: float) -> NDArray[np.bool_]:
    """Return where tumour is, bool [height, width].

    Args:
        path: `.csv` of `lesion,x,y`, the corners of each lesion in order; `.xml` of ASAP, as CAMELYON16 has it; or an
            image of the slide in which tumour is not black, at any resolution.
        slide: The slide the coordinates are of.
        size_px: Width and height of the mask.
        scale: Pixels of the slide's full resolution a pixel of the mask.

    Raises:
        DataError: The file cannot be read, or holds nothing that has an area.
    """
    if path.suffix.lower() not in (".csv", ".xml"):
        return _image(path, slide, size_px, scale)
    try:
        polygons = _table(path) if path.suffix.lower() == ".csv" else _annotations(path)
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        wanted = "a table of lesion,x,y" if path.suffix.lower() == ".csv" else "annotations as ASAP writes them"
        raise DataError(path, f"cannot be read ({error!r}), wanted {wanted}", "correct the file") from None
    short = [name for name, corners in polygons.items() if len(corners) < 3]
    if short or not polygons:
        found = f"found lesion '{short[0]}' with fewer than 3 corners" if short else "found no lesion"
        raise DataError(path, f"{found}, wanted outlines", "give the corners of each lesion, in order")
    mask = Image.new("1", size_px)
    for corners in polygons.values():
        # Corners of pixels, not their middles: full resolution's (0, 0) is the mask's (-0.5, -0.5).
        ImageDraw.Draw(mask).polygon([(x / scale - 0.5, y / scale - 0.5) for x, y in corners], fill=1)
    return np.array(mask)


def _image(path: Path, slide: SlideReader, size_px: tuple[int, int], scale: float) -> NDArray[np.bool_]:
    mask = open_slide(path)
    try:
        across, down = (ours / theirs for ours, theirs in zip(slide.size_px, mask.size_px, strict=True))
        if abs(across / down - 1) > 0.02:
            problem = f"found {mask.size_px} pixels, wanted the proportions of the slide's {slide.size_px}"
            raise DataError(path, problem, "give the mask of this slide")
        tumour: NDArray[np.bool_] = mask.overview(size_px, scale / across, background=0).max(axis=2) > 0
        return tumour
    finally:
        mask.close()


def _table(path: Path) -> dict[str, Polygon]:
    polygons: dict[str, Polygon] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            polygons.setdefault(row["lesion"], []).append((float(row["x"]), float(row["y"])))
    return polygons


def _annotations(path: Path) -> dict[str, Polygon]:
    polygons: dict[str, Polygon] = {}
    for number, annotation in enumerate(ElementTree.parse(path).getroot().iter("Annotation")):
        corners = sorted(annotation.iter("Coordinate"), key=lambda corner: int(corner.attrib["Order"]))
        polygons[str(number)] = [(float(corner.attrib["X"]), float(corner.attrib["Y"])) for corner in corners]
    return polygons
