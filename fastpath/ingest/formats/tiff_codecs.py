"""The compressions of TIFF that give back bytes as they were: each within the bounds that the picture sets."""

from __future__ import annotations

import ctypes
import io
import lzma
import struct
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from fastpath.ingest.formats.unreadable import REPACK, damaged, unsupported

NONE, LZW, JPEG, PACKBITS, LZMA, ZSTD = 1, 5, 7, 32773, 34925, 50000
DEFLATE = (8, 32946)
WITH_PREDICTOR = (LZW, *DEFLATE, LZMA, ZSTD)
LZMA_BYTES = 1 << 26  # of a dictionary that a stream may ask for
LIBTIFF_BYTES = 1 << 26  # decoded at once, so that Pillow does not take it for a bomb

NAMES = {
    NONE: "no compression",
    2: "CCITT run lengths",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    LZW: "LZW",
    6: "old-style JPEG",
    JPEG: "JPEG",
    8: "Deflate",
    9: "JBIG",
    10: "JBIG",
    22610: "JPEG XR",
    32766: "NeXT",
    PACKBITS: "PackBits",
    32809: "ThunderScan",
    32946: "Deflate",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    33007: "old-style JPEG",
    34661: "JBIG",
    34676: "SGI Log",
    34677: "SGI Log",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    LZMA: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    ZSTD: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


def check(compression: int) -> None:
    """Refuse a compression that is not read, by its name.

    Raises:
        UnreadableError: It is one.
    """
    if compression not in (NONE, LZW, JPEG, PACKBITS, LZMA, ZSTD, *DEFLATE):
        name = NAMES.get(compression)
        problem = f"compression {name} ({compression})" if name else f"compression {compression}"
        raise unsupported(f"{problem} is not read", REPACK)


def unpack(
    compression: int, packed: Sequence[memoryview], sizes: Sequence[int], most: Sequence[int], row_bytes: int
) -> list[np.ndarray]:
    """Unpack segments.

    Args:
        compression: As TIFF numbers it; not JPEG, which gives pixels and no bytes.
        packed: The bytes of each.
        sizes: How many bytes each becomes: a multiple of `row_bytes`, the same for all but perhaps the last.
        most: How many bytes each may hold: beyond them lie rows that the header does not know of.
        row_bytes: Bytes of a row.

    Returns:
        uint8 [size] of each.

    Raises:
        UnreadableError: They are damaged.
    """
    if compression == NONE:
        return [np.frombuffer(segment, np.uint8) for segment in packed]
    if compression in DEFLATE or compression == LZMA:
        unpack_one = _deflated if compression in DEFLATE else _lzma
        name, parts = NAMES[compression], zip(packed, sizes, most, strict=True)
        return [_sized(unpack_one(segment, limit + 1), size, limit, name) for segment, size, limit in parts]
    values: list[np.ndarray] = []
    each = max(1, LIBTIFF_BYTES // sizes[0])
    for start in range(0, len(packed), each):
        values += _by_libtiff(compression, packed[start : start + each], sizes[start : start + each], row_bytes)
    return values


def _sized(result: bytes, size: int, most: int, name: str) -> np.ndarray:
    if not size <= len(result) <= most:
        number = f"{len(result)} bytes" if len(result) <= most else f"more than {most} bytes"
        raise damaged(f"{name} gives {number} of pixels, wanted {size}")
    return np.frombuffer(result, np.uint8, size)


def _deflated(packed: memoryview, most: int) -> bytes:
    """Unpack a zlib stream to no more than a size; its checksum is compared."""
    stream = zlib.decompressobj()
    try:
        result = stream.decompress(packed, most)
        stream.decompress(stream.unconsumed_tail, 1)  # the checksum
    except zlib.error as error:
        raise damaged(f"Deflate: {error}") from None
    if not stream.eof and len(result) < most:
        raise damaged(f"Deflate ends after {len(result)} bytes of pixels, without its checksum")
    return result


def _lzma(packed: memoryview, most: int) -> bytes:
    """Unpack an xz stream to no more than a size."""
    try:
        stream = lzma.LZMADecompressor(memlimit=LZMA_BYTES)
        result = stream.decompress(packed, most)
    except (lzma.LZMAError, EOFError) as error:
        raise damaged(f"LZMA: {error}") from None
    if not stream.eof and len(result) < most:
        raise damaged(f"LZMA ends after {len(result)} bytes of pixels, without its checksum")
    return result


def _by_libtiff(
    compression: int, packed: Sequence[memoryview], sizes: Sequence[int], row_bytes: int
) -> list[np.ndarray]:
    """Let libtiff, which Pillow carries, unpack bytes: given to it as the strips of a grey picture."""
    from PIL import Image

    silence_libtiff()
    rows = sum(sizes) // row_bytes
    file = io.BytesIO(_grey_tiff(compression, packed, sizes[0] // row_bytes, rows, row_bytes))
    try:
        with Image.open(file, formats=("TIFF",)) as image:
            whole = np.asarray(image)
    except (OSError, ValueError, SyntaxError):
        if compression == ZSTD and not has_zstd():
            raise unsupported("compression Zstandard (50000) is not read by the Pillow installed", REPACK) from None
        raise damaged(f"{NAMES[compression]} cannot be unpacked") from None
    if whole.shape != (rows, row_bytes) or whole.dtype != np.uint8:
        raise damaged(f"{NAMES[compression]} gives {whole.shape}, wanted {(rows, row_bytes)}")
    return np.split(whole.reshape(-1), np.cumsum(sizes)[:-1])


def _grey_tiff(compression: int, packed: Sequence[memoryview], strip_rows: int, rows: int, row_bytes: int) -> bytes:
    """Return a TIFF of one grey sample whose strips are what is given."""
    count, first = len(packed), 8 + 2 + 10 * 12 + 4
    lengths = np.array([len(segment) for segment in packed], "<u4")
    starts = first + 8 * count + np.concatenate([np.zeros(1, "<u4"), np.cumsum(lengths[:-1])])
    places = [int(starts[0]), int(lengths[0])] if count == 1 else [first, first + 4 * count]
    tags = [(256, 4, 1, row_bytes), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    tags += [(273, 4, count, places[0]), (277, 3, 1, 1), (278, 4, 1, strip_rows), (279, 4, count, places[1])]
    tags += [(284, 3, 1, 1)]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"".join([head, bytes(4), starts.astype("<u4").tobytes(), lengths.tobytes(), *packed])


@cache
def has_zstd() -> bool:
    """Say whether Pillow's libtiff packs and unpacks Zstandard."""
    from PIL import Image

    try:
        Image.new("L", (8, 8)).save(io.BytesIO(), "TIFF", compression="zstd")
    except (OSError, KeyError, ValueError):
        return False
    return True


@cache
def silence_libtiff() -> None:
    """Keep libtiff from writing to the terminal beside the one line that we say of a damaged file."""
    from PIL import _imaging

    try:
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler.restype = ctypes.c_void_p
        library.TIFFSetErrorHandler(None)
    except (OSError, AttributeError):  # linked otherwise: then it writes, and nothing else changes
        return
