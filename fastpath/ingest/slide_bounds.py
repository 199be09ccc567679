"""What a slide may claim before a library is let near it: OpenSlide ends the process where it finds no memory."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastpath.errors import DataError
from fastpath.ingest.formats.dicom_header import check_frames, is_dicom
from fastpath.ingest.formats.tiff_header import Directory, directories
from fastpath.ingest.formats.unreadable import UnreadableError

MAX_SIDE_PX = 1 << 19  # a whole glass slide of 76 mm is 304,000 pixels at 0.25 µm
MAX_TILE_PX = 4096  # scanners write 240 to 1,024
MAX_PIXELS_A_BYTE = 4096  # empty glass takes about 200 pixels a byte, in JPEG as in JPEG 2000
MAX_DIRECTORIES = 4096  # levels, focal planes, label and overview
MAX_LEVELS = 64
MAX_PADDING_PX = 1024  # scanners fill up the last row and column of tiles, in each level anew

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEAD_BYTES = 132  # in which either format names itself
_NDPI = 65420  # Hamamatsu's mark: offsets of directories take 8 bytes
_REMEDY = "restore the file, or convert it to a tiled TIFF"


def check_file(path: Path) -> None:
    """Look at the directories of a slide that is a TIFF, and at the frames of one that is DICOM; any other file passes.

    Of a DICOM slide all files beside it are looked at, as OpenSlide reads those of its series.

    Raises:
        DataError: They are without end, damaged, or claim what no slide has.
    """
    if not _check_alone(path):
        return
    for beside in sorted(path.parent.iterdir()):
        if beside.is_file() and not beside.samefile(path):
            _check_alone(beside)


def _check_alone(path: Path) -> bool:
    """Look at one file; returns whether it is DICOM."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if head[:4] not in _MAGIC and not is_dicom(head):
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if is_dicom(head):
                    check_frames(data)
                    return True
                _check_directories(data)
                return False
    except (OSError, ValueError) as error:
        raise DataError(path, f"cannot be read ({error})", _REMEDY) from None
    except UnreadableError as error:
        raise DataError(path, error.problem, _REMEDY) from None


def _check_directories(data: mmap.mmap) -> None:
    far = _is_far(data)
    last: Directory | None = None
    for number, page in enumerate(directories(data, MAX_DIRECTORIES, far=far), 1):
        _check_page(page, number, len(data))
        last = page
    if last is not None and last.after:
        kind = "more than 4096 directories" if number == MAX_DIRECTORIES else "directories that run in a circle"
        raise UnreadableError(f"found {kind}, wanted a chain that ends", _REMEDY)


def _is_far(data: mmap.mmap) -> bool:
    """Say whether a file is Hamamatsu's, whose offsets of directories take 8 bytes, the first one's too."""
    try:
        return _NDPI in next(directories(data, 1, far=True))
    except UnreadableError:
        return False


def _check_page(page: Directory, number: int, num_bytes: int) -> None:
    width, height = page.number(256, 0), page.number(257, 0)
    if width > MAX_SIDE_PX or height > MAX_SIDE_PX:
        problem = f"found {width} by {height} pixels in directory {number}, wanted at most {MAX_SIDE_PX} a side"
        raise UnreadableError(problem, _REMEDY)
    if width * height > MAX_PIXELS_A_BYTE * num_bytes:
        problem = f"found {width} by {height} pixels in directory {number}, more than {num_bytes} bytes can hold"
        raise UnreadableError(problem, _REMEDY)
    if 322 in page:
        wide, high = page.number(322, 0), page.number(323, 0)
        if not (0 < wide <= MAX_TILE_PX and 0 < high <= MAX_TILE_PX):
            problem = f"found tiles of {wide} by {high} pixels in directory {number}, wanted at most {MAX_TILE_PX}"
            raise UnreadableError(problem, _REMEDY)


def check_levels(path: Path, sizes_px: Sequence[tuple[int, int]]) -> None:
    """Look at the levels of an open slide.

    Args:
        path: The slide.
        sizes_px: Width and height of each level, the full resolution first.

    Raises:
        DataError: They are too large or too many, or one is no reduction of the first.
    """
    if not 1 <= len(sizes_px) <= MAX_LEVELS:
        raise DataError(path, f"found {len(sizes_px)} levels, wanted 1 to {MAX_LEVELS}", _REMEDY)
    full_width, full_height = sizes_px[0]
    for number, (width, height) in enumerate(sizes_px):
        if not (0 < width <= min(full_width, MAX_SIDE_PX) and 0 < height <= min(full_height, MAX_SIDE_PX)):
            problem = f"found {width} by {height} pixels in level {number}, wanted 1 to {MAX_SIDE_PX} and no more than"
            raise DataError(path, f"{problem} the {full_width} by {full_height} of level 0", _REMEDY)
        downsample = max(full_width / width, full_height / height)
        if max(width - full_width / downsample, height - full_height / downsample) > MAX_PADDING_PX:
            problem = f"level {number} of {width} by {height} pixels is no reduction of {full_width} by {full_height}"
            raise DataError(path, problem, _REMEDY)


def check_dicom_tiles(path: Path, properties: Mapping[str, str], num_levels: int) -> None:
    """Look at the tiles that an open DICOM slide claims, which are in no directory that `check_file` sees.

    Args:
        path: The slide.
        properties: OpenSlide's.
        num_levels: Levels.

    Raises:
        DataError: They are larger than any scanner's.
    """
    if properties.get("openslide.vendor") != "dicom":
        return
    for number in range(num_levels):
        wide, high = (int(properties[f"openslide.level[{number}].tile-{side}"]) for side in ("width", "height"))
        if not (0 < wide <= MAX_TILE_PX and 0 < high <= MAX_TILE_PX):
            problem = f"found tiles of {wide} by {high} pixels in level {number}, wanted at most {MAX_TILE_PX}"
            raise DataError(path, problem, _REMEDY)
