"""What all kinds of picture files share: what is noted of them, how large they may be, which way is up."""

from __future__ import annotations

from collections import Counter

import numpy as np

from fastpath.ingest.formats.tiff_header import Directory, directories
from fastpath.ingest.formats.unreadable import MAX_SIDE_PX, UnreadableError

ALPHA, PAGES, TURNED = "alpha_dropped", "first_page_of_several", "orientation_applied"
WANTED = "wanted RGB with 8 bits a sample"

# Steps along rows and columns that bring each orientation upright, after 5 to 8 have been transposed.
_STEPS = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
_TAG = 274


def check_size(height: int, width: int) -> None:
    """Refuse dimensions that no patch has.

    Raises:
        UnreadableError: A side is 0 or beyond `MAX_SIDE_PX`.
    """
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        problem = f"found {width} by {height} pixels, wanted 1 to {MAX_SIDE_PX} a side"
        raise UnreadableError(problem, "cut whole slides into patches first")


def upright(image_HWC: np.ndarray, orientation: int, notes: Counter[str]) -> np.ndarray:
    """Return a picture as it is meant to be seen, C-order.

    Args:
        image_HWC: uint8 [H, W, 3].
        orientation: 1 to 8, as TIFF and EXIF number them.
        notes: Told where it is turned.
    """
    if orientation != 1:
        notes[TURNED] += 1
    if orientation >= 5:
        image_HWC = image_HWC.transpose(1, 0, 2)
    rows, columns = _STEPS[orientation]
    return np.ascontiguousarray(image_HWC[::rows, ::columns])


def orientation_of(page: Directory) -> int:
    """Return a directory's orientation, 1 to 8; 1 where it says nothing, or nonsense."""
    try:
        result = page.number(_TAG, 1)
    except UnreadableError:
        return 1
    return result if result in _STEPS else 1


def orientation_of_exif(data: bytes) -> int:
    """Return the orientation that EXIF gives; 1 where it says nothing, or is broken."""
    try:
        return orientation_of(next(directories(data, 1)))
    except UnreadableError:
        return 1
