"""Read regions of a whole-slide image at any scale, through OpenSlide."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastpath.errors import DataError, UsageError
from fastpath.ingest.formats.tiff_codecs import silence_libtiff
from fastpath.ingest.formats.unreadable import reason
from fastpath.ingest.slide_bounds import check_dicom_tiles, check_file, check_levels

Pixels = NDArray[np.uint8]

_UNITS_UM = {"centimeter": 10_000.0, "inch": 25_400.0}
_PLAUSIBLE_UM = (0.05, 20.0)  # a default of 72 dots an inch, 353 µm, says nothing of a slide
_BAND_PIXELS = 2**24  # read at once while an overview is made: 64 MiB


class SlideReader:
    """A slide, opened for reading. Safe to use from several threads.

    Attributes:
        path: The file.
        size_px: Width and height at full resolution.
        mpp: Micrometres a pixel at full resolution; None where the file does not tell.
        bounds_corner_px: x and y of the upper left corner of what was scanned, where the file tells its bounds (MIRAX
            does, of a canvas that is empty around them), else (0, 0). QuPath's (0, 0) lies there.
    """

    def __init__(self, path: Path, handle: Any) -> None:  # noqa: ANN401 (openslide is untyped)
        self.path, self._handle = path, handle
        self.size_px: tuple[int, int] = tuple(handle.dimensions)
        self.mpp = _mpp(handle.properties)
        self.bounds_corner_px = _bounds_corner(handle.properties)

    def read(self, left: float, top: float, size_px: tuple[int, int], scale: float, background: int = 255) -> Pixels:
        """Return a region, shrunk with averaging.

        Args:
            left: Its left edge, in pixels of full resolution; may lie outside the slide.
            top: Its upper edge.
            size_px: Width and height of what is returned.
            scale: Pixels of full resolution a pixel returned, at least 1.
            background: What shows where the slide has no pixels.

        Returns:
            uint8 [height, width, 3].

        Raises:
            DataError: The slide is damaged there.
        """
        level = self._handle.get_best_level_for_downsample(scale * 1.001)
        downsample = self._handle.level_downsamples[level]
        if scale == downsample:  # see `snapped`: nothing to shrink, and half a pixel of full resolution is nothing
            x, y, box = round(left), round(top), [0.0, 0.0, *map(float, size_px)]
        else:
            x, y = int(np.floor(left)), int(np.floor(top))
            box = [(left - x) / downsample, (top - y) / downsample]
            box += [box[0] + size_px[0] * scale / downsample, box[1] + size_px[1] * scale / downsample]
        wide, high = (max(1, int(np.ceil(edge - 1e-6))) for edge in box[2:])
        result = self._region((x, y), level, (wide, high))
        region = Image.new("RGB", result.size, (background,) * 3)
        region.paste(result, mask=result.getchannel("A"))
        if region.size != size_px:
            inside = (box[0], box[1], min(box[2], wide), min(box[3], high))
            region = region.resize(size_px, Image.Resampling.BILINEAR, box=inside)
        return np.asarray(region)

    def _region(self, corner: tuple[int, int], level: int, size_px: tuple[int, int]) -> Image.Image:
        """Return a region of a level with its alpha; whatever a library raises over it is one line."""
        try:
            region: Image.Image = self._handle.read_region(corner, level, size_px)
        except MemoryError:
            raise
        except Exception as error:  # OpenSlide's, and for a plain image whatever Pillow raises
            place = f"at ({corner[0]}, {corner[1]})"
            raise _unreadable(self.path, f"is damaged {place}", error) from None
        return region

    def snapped(self, scale: float) -> float:
        """Return the scale of a level that is within 1 % of this one, else this one.

        Resampling by so little would blur every pixel, and scanners are no more exact than that.
        """
        near = min(self._handle.level_downsamples, key=lambda downsample: abs(downsample / scale - 1))
        return float(near) if abs(near / scale - 1) < 0.01 else scale

    def overview(self, size_px: tuple[int, int], scale: float, background: int = 255) -> Pixels:
        """Return the whole slide at a scale, read in bands so that memory stays bounded.

        Args:
            size_px: Width and height of the overview.
            scale: Pixels of full resolution a pixel of it.
            background: What shows where the slide has no pixels.
        """
        width, height = size_px
        buffer = np.empty((height, width, 3), np.uint8)
        for top, rows in _bands(height, max(1, int(_BAND_PIXELS / (width * scale**2)))):
            buffer[top : top + rows] = self.read(0, top * scale, (width, rows), scale, background)
        return buffer

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def open_slide(path: Path) -> SlideReader:
    """Open a slide of any format that OpenSlide reads, or a plain image, which is then held in memory.

    Raises:
        UsageError: OpenSlide is not installed.
        DataError: The file is missing, no image, or claims what no slide has.
    """
    try:
        import openslide
    except ImportError:
        raise UsageError(path, "reading slides needs OpenSlide", "pip install 'fastpath[slide]'") from None
    if path.is_dir():
        remedy = "give a file; of a DICOM slide any one of its files, the others are found beside it"
        raise DataError(path, "found a directory, wanted a whole-slide image", remedy)
    if not path.is_file():
        raise DataError(path, "found no such file, wanted a whole-slide image", "check the path")
    check_file(path)
    silence_libtiff()
    try:
        with warnings.catch_warnings(action="ignore"):  # of large plain images, and of their metadata
            handle = openslide.open_slide(path)
    except Exception as error:  # OpenSlide's, and for a plain image whatever Pillow raises
        raise _unreadable(path, "is not an image that OpenSlide reads", error) from None
    try:
        check_levels(path, handle.level_dimensions)
        check_dicom_tiles(path, handle.properties, handle.level_count)
        return SlideReader(path, handle)
    except BaseException:
        handle.close()
        raise


def _unreadable(path: Path, problem: str, error: Exception) -> DataError:
    return DataError(path, f"{problem} ({reason(error)})", "restore the file, or convert it to a tiled TIFF")


def tissue_share(overview: Pixels, cell_px: int) -> NDArray[np.float64]:
    """Return how much of each cell of an overview is tissue: what is coloured, or neither bright nor ink.

    Stain gives colour, glass and fat have none. The border between the two is Otsu's on the difference between the
    largest and the smallest channel, within bounds, so that a slide of nothing but tissue, or of nothing but glass, is
    not cut in half.

    Args:
        overview: uint8 [rows·cell_px, columns·cell_px, 3].
        cell_px: Side of a cell.

    Returns:
        float64 [rows, columns].
    """
    colour_HW = overview.max(axis=2).astype(np.int16) - overview.min(axis=2)
    counts = np.bincount(colour_HW.ravel(), minlength=256).astype(np.float64)
    tissue_HW = (colour_HW > np.clip(_otsu(counts), 12, 32)) & (overview.max(axis=2) > 48)
    rows, columns = (side // cell_px for side in tissue_HW.shape)
    share: NDArray[np.float64] = tissue_HW.reshape(rows, cell_px, columns, cell_px).mean(axis=(1, 3))
    return share


def _otsu(counts: NDArray[np.float64]) -> int:
    """Return the value that parts a histogram into two of the largest distance between their means."""
    below, value = np.cumsum(counts), np.arange(len(counts))
    above, moment = counts.sum() - below, np.cumsum(counts * value)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moment / below - (moment[-1] - moment) / above) ** 2
    return int(np.nanargmax(np.nan_to_num(between)))


def _bands(height: int, rows: int) -> Iterator[tuple[int, int]]:
    for top in range(0, height, rows):
        yield top, min(rows, height - top)


def _mpp(properties: Mapping[str, str]) -> float | None:
    """Return micrometres a pixel from what the scanner, or failing that a TIFF's resolution, tells."""
    try:
        sides = [float(properties[f"openslide.mpp-{axis}"]) for axis in "xy"]
    except (KeyError, ValueError):
        try:
            unit = _UNITS_UM[properties["tiff.ResolutionUnit"].lower()]
            sides = [unit / float(properties[f"tiff.{axis}Resolution"]) for axis in "XY"]
        except (KeyError, ValueError, ZeroDivisionError):
            return None
    mean = sum(sides) / 2
    return mean if _PLAUSIBLE_UM[0] <= mean <= _PLAUSIBLE_UM[1] else None


def _bounds_corner(properties: Mapping[str, str]) -> tuple[int, int]:
    """Return where the scanned part begins. As QuPath does, bounds count only where the file tells all four."""
    try:
        x, y, _, _ = (int(properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height"))
    except (KeyError, ValueError):
        return 0, 0
    return x, y
