"""From the bytes of a TIFF, PNG or JPEG file to uint8 RGB pixels, or a one-line error."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpath.errors import DataError

if TYPE_CHECKING:
    import tifffile

MAX_SIDE_PX = 4096  # a patch, not a slide: a header that claims more is a bomb, refused before any memory is taken
MAX_FILE_BYTES = 3 * MAX_SIDE_PX**2 + (1 << 20)  # an uncompressed patch of that size with room for its tags
MAX_PLAIN_LAYOUTS = 4096  # headers differ in their DateTime at least: one a second of the hours a set was written in

TIFF, PNG, JPEG = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
ALPHA, PAGES = "alpha_dropped", "first_page_of_several"

_plain: dict[tuple[int, bytes, bytes], tuple[int, int]] = {}  # length, bytes around the pixels -> height, width
_places: dict[int, tuple[int, int]] = {}  # length of a file -> where a proven file of that length kept its pixels
_latest = threading.local()  # the layout of the latest plain file, which the next one most likely shares
_strict = threading.Lock()  # what libraries would only warn of is refused, and that is global to the process


def decode_file(path: Path | str, notes: Counter[str] | None = None) -> np.ndarray:
    """Read one patch.

    Args:
        path: A TIFF (any common form), PNG or JPEG file.
        notes: Counts what was left aside (`alpha_dropped`, `first_page_of_several`).

    Returns:
        uint8 [H, W, 3], red green blue.

    Raises:
        DataError: It cannot be read, is damaged, or is not 8-bit RGB.
    """
    return decode(read_bytes(path), path, notes)


def read_bytes(path: Path | str) -> bytes:
    """Return a file's bytes; unbuffered, which for small files costs a third of what `open` does.

    Raises:
        DataError: It is missing, unreadable, not a regular file or larger than any patch.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe must not hold us
        try:
            before = os.fstat(descriptor)
            size = before.st_size
            if size > MAX_FILE_BYTES:
                problem = f"found {size} bytes, wanted a patch of at most {MAX_FILE_BYTES}"
                raise DataError(path, problem, "cut whole slides into patches first")
            data = os.read(descriptor, size + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "restore the file") from None
    if len(data) != size or (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
        raise DataError(path, "changed while it was being read", "pack when nothing writes to the source")
    return data


def read_plain(path: str, out: np.ndarray) -> os.stat_result | None:
    """Read a file of the latest plain layout straight into place: no copy, no decoding, half the interpreter's work.

    Args:
        path: The file.
        out: uint8 [H, W, 3], C-order; holds anything where None is returned.

    Returns:
        What the file system said of the file, or None where it is of another layout, or anything is odd about it:
        `decode_file` then says what.
    """
    layout: _Layout | None = getattr(_latest, "layout", None)
    if layout is None or out.shape != layout.shape:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        before = os.fstat(descriptor)
        if before.st_size != layout.num_bytes:
            return None
        found = os.readv(descriptor, [layout.head, out.data, layout.tail])
        after = os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if found != before.st_size or (after.st_size, after.st_mtime_ns) != (found, before.st_mtime_ns):
        return None
    around = (found, bytes(layout.head), bytes(layout.tail[: layout.num_tail]))
    return before if _plain.get(around) == layout.shape[:2] else None


class _Layout:
    """Where a plain file keeps its pixels, and room for what lies around them.

    Attributes:
        num_bytes: Length of the file.
        shape: Height, width, channels.
        head: Room for the bytes before the pixels.
        tail: Room for the bytes after them, and one more, which a file that has grown would fill.
        num_tail: Bytes after the pixels.
    """

    __slots__ = ("head", "num_bytes", "num_tail", "shape", "tail")

    def __init__(self, num_bytes: int, start: int, shape: tuple[int, int, int]) -> None:
        self.num_bytes, self.shape, self.head = num_bytes, shape, bytearray(start)
        self.num_tail = num_bytes - start - shape[0] * shape[1] * shape[2]
        self.tail = bytearray(self.num_tail + 1)


def decode(data: bytes, where: object, notes: Counter[str] | None = None) -> np.ndarray:
    """Decode the bytes of one file; see `decode_file`."""
    pixels = _plain_pixels(data)
    return pixels if pixels is not None else decode_general(data, where, Counter() if notes is None else notes)


def decode_general(data: bytes, where: object, notes: Counter[str]) -> np.ndarray:
    """Decode without the shortcut for known layouts; the two agree on every file (tested)."""
    if data[:4] in TIFF:
        return _guarded(_decode_tiff, data, where, notes)
    if data[:8] == PNG or data[:3] == JPEG:
        return _guarded(_decode_pillow, data, where, notes)
    found = "an empty file" if not data else f"bytes {data[:4]!r}"
    raise DataError(where, f"found {found} at its start, wanted a TIFF, PNG or JPEG", "remove or replace the file")


def _guarded(
    decoder: Callable[[bytes, object, Counter[str]], np.ndarray], data: bytes, where: object, notes: Counter[str]
) -> np.ndarray:
    """Turn whatever a decoding library raises on hostile bytes into one line that names the file."""
    try:
        with _strict, warnings.catch_warnings():
            warnings.simplefilter("error")
            return decoder(data, where, notes)
    except DataError:
        raise
    except Exception as error:  # tifffile and Pillow raise nearly every built-in kind on damaged headers
        problem = f"is damaged ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        raise DataError(where, problem, "restore the file, or leave it out with --on-error skip") from None


def _plain_pixels(data: bytes) -> np.ndarray | None:
    """Pixels of a file whose every byte outside the pixels equals a file that tifffile has read, else None."""
    start, length = _places.get(len(data), (0, 0))
    if not length:
        return None
    shape = _plain.get((len(data), data[:start], data[start + length :]))
    if shape is None:
        return None
    latest: _Layout | None = getattr(_latest, "layout", None)
    if latest is None or latest.num_bytes != len(data) or latest.shape[:2] != shape:
        _latest.layout = _Layout(len(data), start, (*shape, 3))
    return np.frombuffer(data, np.uint8, length, start).reshape(*shape, 3)


def _decode_tiff(data: bytes, where: object, notes: Counter[str]) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        _check_page(page, where, len(data))
        several = len(file.pages) > 1
        if int(page.compression) != 1:  # tifffile needs a further package for these; Pillow carries libtiff
            pixels = _decode_pillow(data, where, notes)
        else:
            pixels = page.asarray()
            if int(page.planarconfig) == 2 and page.samplesperpixel > 1:
                pixels = np.moveaxis(pixels, 0, -1)
            if pixels.shape[-1] == 4:
                notes[ALPHA] += 1
            pixels = np.ascontiguousarray(pixels[..., :3])
    if several:
        notes[PAGES] += 1
    if pixels.shape != (page.imagelength, page.imagewidth, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"decoded to {pixels.dtype} {pixels.shape}")
    if not several and page.is_contiguous and page.samplesperpixel == 3 and int(page.planarconfig) == 1:
        _remember(data, page, pixels)
    return pixels


def _check_page(page: tifffile.TiffPage, where: object, num_bytes: int) -> None:
    """Refuse what is not 8-bit RGB, or whose segments do not lie whole within the file."""
    bits, photometric, samples = page.bitspersample, int(page.photometric), int(page.samplesperpixel)
    if bits != 8 or int(page.sampleformat) != 1:
        problem = f"found {bits}-bit samples of format {page.sampleformat}, wanted 8-bit unsigned"
        raise DataError(where, problem, "convert it to 8-bit RGB")
    if photometric not in (2, 6) or samples not in (3, 4):
        name = getattr(page.photometric, "name", photometric)
        raise DataError(where, f"found {samples} samples of {name}, wanted RGB", "convert it to 8-bit RGB")
    check_size(page.imagelength, page.imagewidth, where)
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    ends = [offset + count for offset, count in segments]
    if not segments or max(ends) > num_bytes:
        problem = f"is truncated: found {num_bytes} bytes, wanted {max(ends, default=0)}"
        raise DataError(where, problem, "restore the file")
    if any(count <= 0 or offset <= 0 for offset, count in segments):
        raise DataError(where, "has strips or tiles without pixels", "restore the file")
    wanted, held = page.imagelength * page.imagewidth * samples, sum(count for _, count in segments)
    if page.is_tiled:
        wanted = len(segments) * page.tilelength * page.tilewidth * (samples if int(page.planarconfig) == 1 else 1)
    if int(page.compression) == 1 and held != wanted:
        problem = f"found {held} bytes of pixels, wanted {wanted} for {page.imagewidth} by {page.imagelength} pixels"
        raise DataError(where, problem, "restore the file")


def check_size(height: int, width: int, where: object) -> None:
    """Refuse dimensions that no patch has.

    Raises:
        DataError: A side is 0 or beyond `MAX_SIDE_PX`.
    """
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        problem = f"found {width} by {height} pixels, wanted 1 to {MAX_SIDE_PX} a side"
        raise DataError(where, problem, "cut whole slides into patches first")


def _remember(data: bytes, page: tifffile.TiffPage, pixels: np.ndarray) -> None:
    """Note a layout that needs no decoding: the pixels lie in one piece, as they are."""
    start, length = page.dataoffsets[0], pixels.nbytes
    if len(_plain) < MAX_PLAIN_LAYOUTS and data[start : start + length] == pixels.tobytes():
        _places[len(data)] = (start, length)
        _plain[len(data), data[:start], data[start + length :]] = (page.imagelength, page.imagewidth)


def _decode_pillow(data: bytes, where: object, notes: Counter[str]) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("TIFF", "PNG", "JPEG")) as image:
        check_size(image.height, image.width, where)
        if image.mode not in ("RGB", "RGBA", "RGBX"):
            raise DataError(where, f"found {_MODES.get(image.mode, image.mode)}, wanted RGB", "convert it to 8-bit RGB")
        pixels = np.asarray(image)
    if pixels.shape[-1] == 4:
        notes[ALPHA] += 1
    return np.ascontiguousarray(pixels[..., :3])


_MODES = {"L": "grey", "P": "a palette", "1": "one bit", "CMYK": "CMYK", "I;16": "16 bits", "LA": "grey with alpha"}
