"""Where a slide's lesions lie, from a mask, a table of polygons or ASAP's annotations; and how a heatmap finds them."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastpath.analysis import froc, metrics, slides
from fastpath.errors import DataError
from fastpath.ingest.slide_reader import SlideReader, open_slide
from fastpath.system.files import read_regular
from fastpath.workflows.slide.slide_grid import Grid

_BYTES_MAX = 1 << 28  # CAMELYON16's largest has 2 MB

Polygon = list[tuple[float, float]]

NONE = Path("none")
"""In place of a file: the slide is known to hold no lesion, so every detection is a false alarm."""


LESION_PX = 8  # pixels of a tile a pixel of the lesion mask: 7.8 µm, as in the challenge's evaluation


@dataclass(frozen=True, slots=True)
class Found:
    """How the heatmap compares with lesions.

    Attributes:
        tile_auc: Between cells whose middle lies in a lesion and the others; None where there is one kind only.
        num_lesions: Lesions to be found, isolated tumour cells not counted.
        froc_score: Mean sensitivity at the rates below; None where there is no lesion to find.
        sensitivity_at: Sensitivity by false alarms a slide.
        lesion_scores: Probability of the surest detection in each lesion; None where it was missed.
        false_alarms: Probability of each detection outside lesions, the surest first.
    """

    tile_auc: float | None
    num_lesions: int
    froc_score: float | None
    sensitivity_at: dict[float, float] | None
    lesion_scores: list[float | None]
    false_alarms: list[float]


def compare(
    grid: Grid, places_N2: NDArray[np.int64], probability_N: NDArray[np.float64], mask: NDArray[np.bool_]
) -> Found:
    """Return how a heatmap compares with lesions: cell by cell, and as detections a tile's width apart.

    Args:
        grid: Where the cells lie.
        places_N2: Row and column of each cell.
        probability_N: Of each cell.
        mask: Where tumour is, on a grid of `LESION_PX` pixels of a tile.
    """
    middles_N2 = ((places_N2 + 0.5) * grid.stride_px / LESION_PX).astype(np.int64)
    middles_N2 = np.minimum(middles_N2, np.array(mask.shape) - 1)
    in_lesion_N = mask[middles_N2[:, 0], middles_N2[:, 1]]
    both = in_lesion_N.any() and not in_lesion_N.all()
    found = froc.lesions(mask, LESION_PX * grid.tile_mpp)
    kept = slides.detections(places_N2, probability_N, radius=grid.tile_px / grid.stride_px)
    hits = froc.match(found, middles_N2[kept], probability_N[kept])
    curve = froc.froc([hits]) if found.num_lesions else None
    return Found(
        tile_auc=metrics.roc_auc(in_lesion_N, metrics.logits(probability_N)) if both else None,
        num_lesions=found.num_lesions,
        froc_score=curve.score if curve else None,
        sensitivity_at=curve.sensitivity_at if curve else None,
        lesion_scores=[score if np.isfinite(score) else None for score in hits.lesions_L.tolist()],
        false_alarms=hits.false_alarms_F.tolist(),
    )


def lesion_mask(path: Path, grid: Grid) -> NDArray[np.bool_]:
    """Return where tumour is on a grid of `LESION_PX` pixels of a tile, bool [height, width]; nowhere for `NONE`.

    Raises:
        DataError: The file cannot be read, or holds nothing that has an area.
    """
    scale = LESION_PX * grid.scale
    width, height = (int(np.ceil(side / scale)) for side in grid.slide.size_px)
    return np.zeros((height, width), bool) if path == NONE else read_mask(path, grid.slide, (width, height), scale)


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
    content = read_regular(path, bytes_max=_BYTES_MAX, follow=True, kind=DataError)
    try:
        polygons = _table(content) if path.suffix.lower() == ".csv" else _annotations(content)
        if not all(math.isfinite(place) for corners in polygons.values() for corner in corners for place in corner):
            raise ValueError("a coordinate is not finite")
    except (ValueError, KeyError, TypeError, csv.Error, ElementTree.ParseError) as error:
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


def _table(content: bytes) -> dict[str, Polygon]:
    polygons: dict[str, Polygon] = {}
    for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")):
        polygons.setdefault(row["lesion"], []).append((float(row["x"]), float(row["y"])))
    return polygons


def _annotations(content: bytes) -> dict[str, Polygon]:
    polygons: dict[str, Polygon] = {}
    for number, annotation in enumerate(ElementTree.fromstring(content).iter("Annotation")):
        corners = sorted(annotation.iter("Coordinate"), key=lambda corner: int(corner.attrib["Order"]))
        polygons[str(number)] = [(float(corner.attrib["X"]), float(corner.attrib["Y"])) for corner in corners]
    return polygons
