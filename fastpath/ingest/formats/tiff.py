"""What the samples of a TIFF's picture mean: one rule for every compression and layout.

`tiff_segments` brings back the samples as they were before compression; here photometric interpretation, alpha and
orientation are applied to them. Neither Pillow nor tifffile does all of this for all forms: Pillow takes raw samples of
an uncompressed YCbCr picture for RGB, tifffile leaves alpha and orientation to who asks.
Source: Adobe, TIFF 6.0 (1992), sections 8, 18, 21 and 22.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from fastpath.ingest.formats import tiff_segments as segments
from fastpath.ingest.formats.pictures import (
    ALPHA,
    PAGES,
    WANTED,
    check_size,
    orientation_of,
    upright,
)
from fastpath.ingest.formats.tiff_header import Directory, directories
from fastpath.ingest.formats.unreadable import REPACK, damaged, unsupported

MAX_PAGES = 64  # looked at for the first that is no thumbnail

_RGB, _YCBCR = 2, 6
_SUB_DIRECTORIES = 330
_PHOTOMETRICS = {0: "min-is-white", 1: "grey", 3: "palette", 4: "mask", 5: "CMYK", 8: "CIE Lab", 9: "ICC Lab"}
_PHOTOMETRICS |= {10: "ITU Lab", 32803: "colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}
_FORMATS = {1: "", 2: "signed ", 3: "floating-point ", 4: "undefined ", 5: "complex ", 6: "complex "}
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the default of tag 529
_REFERENCE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)  # the default of tag 532: black and white of Y, Cb and Cr


class Picture:
    """What a directory says of its picture, checked.

    Attributes:
        layout: Where its samples lie and how they are packed.
        photometric: 2, RGB, or 6, YCbCr.
        associated: Its colours are multiplied by its alpha.
        orientation: 1 to 8: which corner comes first, as in EXIF.
        luma_3: Shares of red, green and blue in Y.
        reference_6: Black and white of Y, Cb and Cr.
    """

    __slots__ = ("associated", "layout", "luma_3", "orientation", "photometric", "reference_6")

    def __init__(self, page: Directory, num_bytes: int) -> None:
        _check_samples(page)
        self.photometric, num_samples = page.number(262, -1), page.number(277, 1)
        extra = page.numbers(338)
        self.associated = num_samples == 4 and extra[:1] == [1]
        self.orientation = orientation_of(page)
        self.luma_3, self.reference_6 = page.fractions(529, _LUMA), page.fractions(532, _REFERENCE)
        subsampling = (1, 1)
        if self.photometric == _YCBCR:
            across, down = (*page.numbers(530, segments.default_subsampling(page)), 0, 0)[:2]
            subsampling = (down, across)
        self.layout = segments.layout(page, num_samples, self.photometric == _YCBCR, subsampling, num_bytes)

    @property
    def plain_at(self) -> int:
        """Where the pixels lie in the file as they are, in one piece; 0 where they do not."""
        plain = self.photometric == _RGB and self.orientation == 1 and self.layout.num_samples == 3
        return self.layout.in_one_piece_at if plain else 0


def find_picture(data: bytes, notes: Counter[str]) -> Picture:
    """Find the picture of a TIFF file: the first that is neither a thumbnail nor a mask.

    Args:
        data: The file's bytes.
        notes: Told where the file has further pages.

    Raises:
        UnreadableError: The file is damaged, or its picture of a kind that is not read.
    """
    pages: list[Directory] = []
    for page in directories(data, MAX_PAGES):
        pages.append(page)
        if not _is_reduced(page):
            break
    last_page = pages[-1]
    if _is_reduced(last_page) and (len(pages) > 1 or _SUB_DIRECTORIES in last_page):
        page_place = "a sub-directory" if _SUB_DIRECTORIES in last_page else "no page of its own"
        raise unsupported(f"holds thumbnails or masks, and its picture in {page_place}, which is not read", REPACK)
    if len(pages) > 1 or (8 <= last_page.after < len(data) and last_page.after != last_page.offset):
        notes[PAGES] += 1
    return Picture(last_page, len(data))


def _is_reduced(page: Directory) -> bool:
    return bool(page.number(254, 0) & 5) or page.number(255, 1) == 2


def _check_samples(page: Directory) -> None:
    """Refuse what is not 8-bit RGB, or YCbCr that stands for it."""
    bits, photometric, samples = page.numbers(258, (1,)), page.number(262, -1), page.number(277, 1)
    formats = set(page.numbers(339, (1,)))
    if photometric == -1:
        raise unsupported(f"does not say what its samples mean (tag 262), {WANTED}")
    name = {_RGB: "RGB", _YCBCR: "YCbCr"}.get(photometric, _PHOTOMETRICS.get(photometric, "unknown"))
    if set(bits) != {8} or formats != {1}:
        kind = "".join(_FORMATS.get(number, "unknown ") for number in sorted(formats))
        size = "- and ".join(map(str, sorted(set(bits))))
        raise unsupported(f"found {size}-bit {kind}{name} samples (photometric {photometric}), {WANTED}")
    if photometric not in (_RGB, _YCBCR) or samples not in (3, 4):
        raise unsupported(f"found {samples} samples of {name} (photometric {photometric}), {WANTED}")
    if len(bits) not in (1, samples):
        raise damaged(f"sizes of {len(bits)} samples, wanted {samples}")
    if page.number(266, 1) != 1:
        raise unsupported("its bits are in reverse order (fill order 2), which is not read for 8-bit samples", REPACK)
    check_size(page.number(257, 0), page.number(256, 0))


def pixels_of(data: bytes, picture: Picture, notes: Counter[str]) -> np.ndarray:
    """Decode a picture.

    Args:
        data: The file's bytes.
        picture: What `find_picture` found in them.
        notes: Told where alpha is dropped or the picture turned.

    Returns:
        uint8 [H, W, 3], red green blue, upright, C-order.

    Raises:
        UnreadableError: The file is damaged, or its picture of a kind that is not read.
    """
    samples_HWS, are_rgb = segments.read(data, picture.layout)
    colours = samples_HWS[..., :3]
    if picture.photometric == _YCBCR and not are_rgb:
        colours = rgb_of_ycbcr(colours, picture.luma_3, picture.reference_6)
    if samples_HWS.shape[-1] == 4:
        notes[ALPHA] += 1
        if picture.associated:
            colours = unassociated(colours, samples_HWS[..., 3])
    return upright(colours, picture.orientation, notes)


def rgb_of_ycbcr(ycbcr_HWC: np.ndarray, luma_3: list[float], reference_6: list[float]) -> np.ndarray:
    """Return RGB of YCbCr (TIFF 6.0, section 21).

    Args:
        ycbcr_HWC: uint8 [H, W, 3].
        luma_3: Shares of red, green and blue in Y.
        reference_6: Black and white of Y, Cb and Cr.
    """
    red, green, blue = luma_3
    black, white = np.array(reference_6[::2]), np.array(reference_6[1::2])
    if not (np.isfinite([*luma_3, *reference_6]).all() and min(luma_3) > 0 and (white != black).all()):
        raise damaged("coefficients of YCbCr that are no numbers or 0 (tags 529 and 532)")
    scaled = (ycbcr_HWC.astype(np.float32) - black.astype(np.float32)) * (
        np.array([255, 127, 127]) / (white - black)
    ).astype(np.float32)
    y, cb, cr = scaled[..., 0], scaled[..., 1], scaled[..., 2]
    r, b = y + (2 - 2 * red) * cr, y + (2 - 2 * blue) * cb
    g = (y - blue * b - red * r) / green
    rgb_HWC: np.ndarray = np.clip(np.rint(np.stack([r, g, b], axis=-1)), 0, 255).astype(np.uint8)
    return rgb_HWC


def unassociated(colours_HWC: np.ndarray, alpha_HW: np.ndarray) -> np.ndarray:
    """Return the colours before they were multiplied by alpha; where alpha is 0, as they are.

    Args:
        colours_HWC: uint8 [H, W, 3].
        alpha_HW: uint8 [H, W].
    """
    alpha = alpha_HW[..., None].astype(np.uint32)
    divided = (colours_HWC.astype(np.uint32) * 255 + alpha // 2) // np.maximum(alpha, 1)
    found_HWC: np.ndarray = np.where(alpha > 0, np.minimum(divided, 255), colours_HWC).astype(np.uint8)
    return found_HWC
