"""From the bytes of a TIFF, PNG or JPEG file to uint8 RGB pixels, or a one-line error."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.formats import jpeg, png, tiff
from fastpath.ingest.formats.pictures import ALPHA, PAGES, TURNED
from fastpath.ingest.formats.unreadable import MAX_SIDE_PX, RESTORE, UnreadableError, reason, unsupported

__all__ = ["ALPHA", "PAGES", "TURNED", "decode", "decode_file", "decode_general", "read_bytes", "read_plain"]

MAX_FILE_BYTES = 3 * MAX_SIDE_PX**2 + (1 << 20)  # an uncompressed patch of that size with room for its tags
MAX_PLAIN_LAYOUTS = 4096  # headers differ in their DateTime at least: one a second of the hours a set was written in

TIFF, JPEG = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"\xff\xd8\xff"

_plain: dict[tuple[int, bytes, bytes], tuple[int, int]] = {}  # length, bytes around the pixels -> height, width
_places: dict[int, tuple[int, int]] = {}  # length of a file -> where a proven file of that length kept its pixels
_latest = threading.local()  # the layout of the latest plain file, which the next one most likely shares


def decode_file(path: Path | str, notes: Counter[str] | None = None) -> np.ndarray:
    """Read one patch.

    Args:
        path: A TIFF (any common form), PNG or JPEG file.
        notes: Counts what was left aside or done (`alpha_dropped`, `first_page_of_several`, `orientation_applied`).

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
    except ValueError:  # a name with a zero byte, as a damaged table may give it
        raise DataError(repr(str(path)), "is no name that a file can have", "correct the table") from None
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
    except (OSError, ValueError):
        return None
    try:
        before = os.fstat(descriptor)
        if before.st_size != layout.num_bytes:
            return None
        result = os.readv(descriptor, [layout.head, out.data, layout.tail])
        after = os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if result != before.st_size or (after.st_size, after.st_mtime_ns) != (result, before.st_mtime_ns):
        return None
    around = (result, bytes(layout.head), bytes(layout.tail[: layout.num_tail]))
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


def decode(data: bytes, location: object, notes: Counter[str] | None = None) -> np.ndarray:
    """Decode the bytes of one file; see `decode_file`."""
    pixels = _plain_pixels(data)
    return pixels if pixels is not None else decode_general(data, location, Counter() if notes is None else notes)


def decode_general(data: bytes, location: object, notes: Counter[str]) -> np.ndarray:
    """Decode without the shortcut for known layouts; the two agree on every file (tested)."""
    counts = Counter[str]()
    try:
        pixels = _by_kind(data, counts)
    except UnreadableError as error:
        raise DataError(location, error.problem, error.remedy) from None
    except MemoryError:
        raise
    except Exception as error:  # nothing is known to come here; should it, then of hostile bytes
        problem = f"cannot be decoded ({type(error).__name__}: {reason(error)})"
        raise DataError(location, problem, RESTORE) from None
    notes.update(counts)
    return pixels


def _by_kind(data: bytes, notes: Counter[str]) -> np.ndarray:
    if data[:4] in TIFF:
        return _tiff_pixels(data, notes)
    if data[:8] == png.SIGNATURE:
        return png.decode_png(data, notes)
    if data[:3] == JPEG:
        return jpeg.decode_jpeg(data, notes)
    raise unsupported(f"found {_kind(data)}, wanted a TIFF, PNG or JPEG", "convert it, or leave it out")


def _kind(data: bytes) -> str:
    """Name what a file is that is none of ours."""
    if not data:
        return "an empty file"
    if not any(data[: 1 << 16]):
        return "nothing but zeros"
    for name, at, magic in _OTHERS:
        if data[at : at + len(magic)] == magic:
            return name
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "a web page or XML"
    return f"bytes {data[:4]!r}"


def _tiff_pixels(data: bytes, notes: Counter[str]) -> np.ndarray:
    picture = tiff.find_picture(data, notes)
    pixels = tiff.pixels_of(data, picture, notes)
    if picture.plain_at and not notes:
        _remember(data, picture.plain_at, pixels)
    return pixels


def _plain_pixels(data: bytes) -> np.ndarray | None:
    """Pixels of a file whose every byte outside the pixels equals a file that has been decoded, else None."""
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


def _remember(data: bytes, start: int, pixels: np.ndarray) -> None:
    """Note a layout that needs no decoding: the pixels lie in one piece, as they are."""
    length = pixels.nbytes
    if len(_plain) < MAX_PLAIN_LAYOUTS and data[start : start + length] == pixels.tobytes():
        _places[len(data)] = (start, length)
        _plain[len(data), data[:start], data[start + length :]] = (pixels.shape[0], pixels.shape[1])


_OTHERS = (
    ("GIF", 0, b"GIF8"),
    ("BMP", 0, b"BM"),
    ("WebP", 8, b"WEBP"),
    ("JPEG 2000", 4, b"jP  "),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("JPEG XL", 4, b"JXL "),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XR", 0, b"II\xbc"),
    ("HEIF or AVIF", 4, b"ftyp"),
    ("DICOM", 128, b"DICM"),
    ("Photoshop", 0, b"8BPS"),
    ("HDF5", 0, b"\x89HDF"),
    ("NumPy array", 0, b"\x93NUMPY"),
    ("PDF", 0, b"%PDF"),
    ("ZIP archive", 0, b"PK\x03\x04"),
    ("gzip file", 0, b"\x1f\x8b"),
    ("AppleDouble (metadata of macOS)", 0, b"\x00\x05\x16\x07"),
    ("Git LFS pointer", 0, b"version https://git-lfs"),
)
