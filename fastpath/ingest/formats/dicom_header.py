"""The frames that a DICOM file claims, looked at before a library follows it to them.

OpenSlide's DICOM reader (libdicom, as of openslide-bin 4.0.1.2) ends the process where the table of frames is damaged.
Explicit value representation, little-endian, is what compressed images are written in (PS3.5 A.4); sequences are passed
over by their length or, where it is not defined, item by item.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

from fastpath.ingest.formats.unreadable import UnreadableError

_MAGIC_AT, _MAGIC = 128, b"DICM"
_LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")  # 4 bytes of length
_UNDEFINED = 0xFFFFFFFF
_PIXELS, _NUM_FRAMES, _EXTENDED = (0x7FE0, 0x0010), (0x0028, 0x0008), (0x7FE0, 0x0001)
_SYNTAX, _PLAIN = (0x0002, 0x0010), b"1.2.840.10008.1.2.1"  # of what is not compressed; only there have pixels a length
_OTHER_LAYOUTS = (b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2")  # implicit, big-endian: OpenSlide refuses both
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_DEPTH_MAX = 16  # of sequences within each other: slides have three
_REMEDY = "restore the file, or convert it to a tiled TIFF"

Tag = tuple[int, int]


def is_dicom(data: mmap | bytes) -> bool:
    """Whether a file begins as DICOM does."""
    return data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC


def check_frames(data: mmap | bytes) -> None:
    """See that the table of frames has an entry for each, and that each leads to a frame within the file.

    Raises:
        UnreadableError: The file is cut short, or it is not so.
    """
    frames, syntax = 1, b""
    try:
        for tag, start, length in _elements(data, _MAGIC_AT + 4, len(data), 0):
            if tag == _SYNTAX:
                syntax = bytes(data[start : start + length]).rstrip(b" \0")
                if syntax in _OTHER_LAYOUTS:
                    return
            if tag == _NUM_FRAMES:
                frames = int(bytes(data[start : start + length]).rstrip(b" \0") or b"1")
            if tag == _EXTENDED and length != 8 * frames:
                raise UnreadableError(f"found a table of {length // 8} frames, wanted {frames}", _REMEDY)
            if tag == _PIXELS and (length == _UNDEFINED) != (syntax != _PLAIN):
                raise ValueError("pixels have a length where they are compressed, or none where they are not")
            if tag == _PIXELS and length == _UNDEFINED:
                _check_table(data, start, frames)
            elif tag == _PIXELS and start + length > len(data):
                raise ValueError("pixels are cut short")
    except (struct.error, ValueError) as error:
        raise UnreadableError(f"is a damaged DICOM file ({error})", _REMEDY) from None


def _check_table(data: mmap | bytes, at: int, frames: int) -> None:
    tag, length = _item(data, at)
    first = at + 8 + length
    if tag != _ITEM or length % 4 or length not in (0, 4 * frames) or first > len(data):
        raise UnreadableError(f"found a table of {length // 4} frames, wanted {frames}", _REMEDY)
    for number, offset in enumerate(struct.unpack_from(f"<{length // 4}I", data, at + 8)):
        tag, size = _item(data, first + offset)
        if tag != _ITEM or first + offset + 8 + size > len(data):
            raise UnreadableError(f"found no frame {number + 1} of {frames} where its table says", _REMEDY)


def _elements(data: mmap | bytes, at: int, end: int, depth: int) -> Iterator[tuple[Tag, int, int]]:
    """Yield tag, start and length of each data element up to the pixels, or to the end of an item.

    Raises:
        ValueError: Elements are cut short or nested without end.
        struct.error: Likewise.
    """
    if depth > _DEPTH_MAX:
        raise ValueError("sequences lie too deep within each other")
    while at < end:
        group, element, kind = struct.unpack_from("<HH2s", data, at)
        tag = (group, element)
        if tag in (_ITEM_END, _SEQUENCE_END):
            yield tag, at + 8, 0
            return
        long = kind in _LONG
        length = struct.unpack_from("<I" if long else "<H", data, at + (8 if long else 6))[0]
        start = at + (12 if long else 8)
        yield tag, start, length
        if tag == _PIXELS:
            return
        at = _after_items(data, start, end, depth) if length == _UNDEFINED else start + length
    if at > end:
        raise ValueError("a value goes on beyond the end of the file")


def _after_items(data: mmap | bytes, at: int, end: int, depth: int) -> int:
    """Return where a sequence of undefined length ends."""
    while True:
        tag, length = _item(data, at)
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise ValueError("a sequence holds what is no item")
        if length == _UNDEFINED:
            *_, (last, at, _) = _elements(data, at, end, depth + 1)
            if last != _ITEM_END:
                raise ValueError("an item has no end")
        else:
            at += length


def _item(data: mmap | bytes, at: int) -> tuple[Tag, int]:
    """Return tag and length of an item.

    Raises:
        struct.error: The file ends before.
    """
    group, element, length = struct.unpack_from("<HHI", data, at)
    return (group, element), length
