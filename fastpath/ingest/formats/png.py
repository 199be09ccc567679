"""PNG: only what makes its pixels reaches the decoder, so no metadata can spoil it.

Source: W3C, Portable Network Graphics, third edition (2025), section 11.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter

import numpy as np

from fastpath.ingest.formats.pictures import (
    ALPHA,
    PAGES,
    WANTED,
    check_size,
    orientation_of_exif,
    upright,
)
from fastpath.ingest.formats.unreadable import damaged, reason, truncated, unsupported

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1 << 16

_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}


def decode_png(data: bytes, notes: Counter[str]) -> np.ndarray:
    """Decode a PNG file.

    Args:
        data: Its bytes.
        notes: Told where alpha is dropped, it is turned, or holds an animation.

    Returns:
        uint8 [H, W, 3], red green blue, upright, C-order.

    Raises:
        UnreadableError: It is damaged, or not 8-bit RGB.
    """
    pixels, chunks = _parse(data)
    colour = _check_header(pixels[0][8:-4])
    try:
        decoded = _pixels(pixels)
    except (OSError, ValueError, SyntaxError) as error:
        raise damaged(f"PNG: {reason(error)}") from None
    if colour == 6 or b"tRNS" in chunks:
        notes[ALPHA] += 1
    if int.from_bytes(chunks.get(b"acTL", b"")[:4], "big") > 1:
        notes[PAGES] += 1
    return upright(decoded[..., :3], orientation_of_exif(chunks[b"eXIf"]) if b"eXIf" in chunks else 1, notes)


def _parse(data: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Return the chunks that make the pixels, as they are, and what the others hold, of each kind the first."""
    at, kept, chunks = len(SIGNATURE), list[bytes](), dict[bytes, bytes]()
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            raise truncated(len(data), at + 12)
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + length
        if end > len(data):
            raise truncated(len(data), end)
        if kind not in _CRITICAL:
            if not kind[0] & 32:
                raise unsupported(f"found PNG with a chunk {kind!r} that the format does not know, {WANTED}")
            chunks.setdefault(kind, data[at + 8 : end - 4])
        else:
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise damaged(f"PNG: the checksum of a chunk {kind.decode()} is wrong")
            if (kind == b"IHDR") != (not kept):
                raise damaged("PNG: its header is not its first chunk, or not its only one")
            kept.append(data[at:end])
            if kind == b"IEND":
                return kept, chunks
        at = end
    raise damaged(f"PNG: more than {MAX_CHUNKS} chunks")


def _check_header(header: bytes) -> int:
    """Refuse what is not 8-bit RGB; return the type of colour."""
    if len(header) != 13:
        raise damaged(f"PNG: a header of {len(header)} bytes, wanted 13")
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    if colour not in _COLOURS:
        raise damaged(f"PNG: type of colour {colour}")
    if bits != 8 or colour not in (2, 6):
        raise unsupported(f"found {bits}-bit {_COLOURS[colour]} samples, {WANTED}")
    check_size(height, width)
    return int(colour)


def _pixels(chunks: list[bytes]) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(SIGNATURE + b"".join(chunks)), formats=("PNG",)) as image:
        return np.asarray(image)
