"""Where a slide's lesions lie, from outlines or a mask; and how a heatmap finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastpath.analysis import froc, metrics, slides
from fastpath.analysis.outlines import Outline, Ring, trace
from fastpath.errors import DataError
from fastpath.ingest import outline_files
from fastpath.ingest.slide_reader import SlideReader, open_slide
from fastpath.workflows.slide.slide_grid import Grid

NONE = Path("none")
"""In place of a file: the slide is known to hold no lesion, so every detection is a false alarm."""


LESION_PX = 8  # pixels of a tile a pixel of the lesion mask: 7.8 µm, as in the challenge's evaluation


@dataclass(frozen=True, slots=True)
class LesionMatch:
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


@dataclass(frozen=True, slots=True)
class KnownTumour:
    """Where tumour is known to be.

    Attributes:
        mask_HW: On a grid of `LESION_PX` pixels of a tile.
        outlines: In pixels of full resolution, as drawn; around the pixels where an image was given.
        left_out: What of the file was left out, in words; empty where nothing was.
    """

    mask_HW: NDArray[np.bool_]
    outlines: list[Outline]
    left_out: str


def match_lesions(
    grid: Grid, places_N2: NDArray[np.int64], probability_N: NDArray[np.float64], mask: NDArray[np.bool_]
) -> LesionMatch:
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
    result = froc.lesions(mask, LESION_PX * grid.tile_mpp)
    kept = slides.detections(places_N2, probability_N, radius=grid.tile_px / grid.stride_px)
    hits = froc.match(result, middles_N2[kept], probability_N[kept])
    curve = froc.froc([hits]) if result.num_lesions else None
    return LesionMatch(
        tile_auc=metrics.roc_auc(in_lesion_N, metrics.logits(probability_N)) if both else None,
        num_lesions=result.num_lesions,
        froc_score=curve.score if curve else None,
        sensitivity_at=curve.sensitivity_at if curve else None,
        lesion_scores=[score if np.isfinite(score) else None for score in hits.lesions_L.tolist()],
        false_alarms=hits.false_alarms_F.tolist(),
    )


_SUFFIXES = (".geojson", ".json", ".xml", ".csv", ".png", ".tif", ".tiff")


def lesions_of(lesions: Path | None, image: Path) -> Path | None:
    """Return the file of a slide's lesions where a folder of such files is given: the one that has the slide's name.

    Args:
        lesions: A folder, a file, `NONE` or None: all but the first are returned as they are.
        image: The slide.

    Raises:
        DataError: The folder holds no file for the slide, or several.
    """
    if lesions is None or lesions == NONE or not lesions.is_dir():
        return lesions
    named = [lesions / f"{image.stem}{suffix}" for suffix in _SUFFIXES]
    paths = [path for path in named if path.is_file()]
    if len(paths) != 1:
        files = " and ".join(path.name for path in paths) or f"no {image.stem}.geojson, .json, .xml, .csv, .png or .tif"
        remedy = "keep one of them" if paths else "add it, or score slides without tumour by themselves, with 'none'"
        raise DataError(lesions, f"found {files}, wanted one file with the lesions of {image.name}", remedy)
    return paths[0]


def known_tumour(path: Path, grid: Grid) -> KnownTumour:
    """Return where tumour is known to be.

    Args:
        path: Outlines (`outline_files.read`); an image of the slide in which tumour is not black, at any resolution;
            or `NONE`.
        grid: Lies over the slide that the lesions are of.

    Raises:
        DataError: The file cannot be read, or holds nothing that has an area.
    """
    scale = LESION_PX * grid.scale
    width, height = (int(np.ceil(side / scale)) for side in grid.slide.size_px)
    if path == NONE:
        return KnownTumour(np.zeros((height, width), bool), [], "")
    if not outline_files.is_outline_file(path):
        mask_HW = _image(path, grid.slide, (width, height), scale)
        return KnownTumour(mask_HW, [_mapped(outline, scale, 0.0) for outline, _ in trace(mask_HW)], "")
    result = outline_files.read(path)
    # QuPath counts pixels from where the scanner's bounds begin, all others from the corner of the file's first level.
    origin_2 = np.array(grid.slide.bounds_corner_px if outline_files.is_of_qupath(path) else (0, 0), np.float64)
    areas, cuts = ([_mapped(outline, 1.0, origin_2) for outline in each] for each in (result.areas, result.cuts))
    left_out = f"of the lesions' file was left out: {result.left_out}" if result.left_out else ""
    return KnownTumour(_drawn(areas, cuts, (width, height), scale), [*areas, *cuts], left_out)


def _mapped(outline: Outline, times: float, plus: Ring | float) -> Outline:
    return Outline(outline.exterior * times + plus, tuple(hole * times + plus for hole in outline.holes))


def _drawn(
    areas: Sequence[Outline], cuts: Sequence[Outline], size_px: tuple[int, int], scale: float
) -> NDArray[np.bool_]:
    """Return a mask of outlines, bool [height, width]."""
    mask = Image.new("L", size_px)
    for outlines, fill in ((areas, 1), (cuts, 0)):
        for outline in outlines:
            # Corners of pixels, not their middles: full resolution's (0, 0) is the mask's (-0.5, -0.5).
            _draw(mask, _mapped(outline, 1 / scale, -0.5), fill)
    return np.array(mask, bool)


def _draw(mask: Image.Image, outline: Outline, fill: int) -> None:
    """Draw an area and not its holes: what another area has drawn within them stays."""
    if not outline.holes:
        ImageDraw.Draw(mask).polygon([tuple(corner) for corner in outline.exterior.tolist()], fill=fill)
        return
    low_2 = np.clip(np.floor(outline.exterior.min(axis=0)), 0, mask.size).astype(np.int64)
    high_2 = np.clip(np.ceil(outline.exterior.max(axis=0)) + 1, 0, mask.size).astype(np.int64)
    if (high_2 <= low_2).any():
        return
    part = Image.new("L", tuple((high_2 - low_2).tolist()))
    for ring, inside in ((outline.exterior, 255), *((hole, 0) for hole in outline.holes)):
        ImageDraw.Draw(part).polygon([tuple(corner) for corner in (ring - low_2).tolist()], fill=inside)
    mask.paste(fill, tuple(low_2.tolist()), part)


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
