"""JPEG, as a file or within a TIFF: only what makes its pixels reaches the decoder, so no metadata can spoil it.

Source: ITU-T T.81 (1992), annex B; Adobe, Supporting the DCT Filters in PostScript Level 2 (1992), section 18.
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fastpath.ingest.formats.pictures import PAGES, WANTED, check_size, orientation_of_exif, upright
from fastpath.ingest.formats.unreadable import CONVERT, REPACK, damaged, reason, unsupported

START = b"\xff\xd8"
MAX_MARKERS = 1 << 14  # before the first scan: room for an ICC profile and a maker's notes
MAX_SCANS = 100  # of a progressive picture; encoders write about ten, each of which goes over the whole picture

_APP0, _APP1, _APP2, _APP14, _SCAN, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xDA, 0xFE
_FRAMES = {0xC0, 0xC1, 0xC2}  # Huffman-coded baseline, extended and progressive
_OTHER_FRAMES = {0xC3: "lossless", 0xC9: "arithmetic", 0xCA: "arithmetic", 0xCB: "lossless arithmetic"}
_OTHER_FRAMES |= {number: "hierarchical" for number in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)}

_END = b"\xff\xd9"
_NOISE = bytes(range(1, 255)) * 4

Marker = tuple[int, bytes]


def decode_jpeg(data: bytes, notes: Counter[str]) -> np.ndarray:
    """Decode a JPEG file.

    Args:
        data: Its bytes.
        notes: Told where it is turned, or holds further pictures.

    Returns:
        uint8 [H, W, 3], red green blue, upright, C-order.

    Raises:
        UnreadableError: It is damaged, or not 8-bit RGB.
    """
    markers, scans = _parse(data)
    _check_frame(markers, scans, components=3, remedy=CONVERT)
    kept = [marker for marker in markers if not _is_metadata(marker[0]) or marker[0] in (_APP0, _APP14)]
    if any(kind == _APP2 and payload[:4] == b"MPF\0" for kind, payload in markers):
        notes[PAGES] += 1
    exif = [payload[6:] for kind, payload in markers if kind == _APP1 and payload[:6] == b"Exif\0\0"]
    pixels = _pixels(kept, scans)
    return upright(pixels, orientation_of_exif(exif[0]) if exif else 1, notes)


def decode_stream(data: bytes, tables: bytes, components: int, is_ycbcr: bool) -> np.ndarray:
    """Decode a strip or tile of a TIFF; its photometric interpretation, not the stream, says what components mean.

    Args:
        data: The stream.
        tables: Tables that streams share; may be empty.
        components: 3, or 1 for a plane.
        is_ycbcr: Three components are YCbCr.

    Returns:
        uint8 [H, W, components]; RGB where there are three.

    Raises:
        UnreadableError: It is damaged, or of a kind that is not read.
    """
    markers, scans = _parse(data)
    shared = _parse(tables, with_scan=False)[0] if tables else []
    _check_frame(markers, scans, components, REPACK)
    adobe = (_APP14, b"Adobe\0\x64\0\0\0\0" + bytes([is_ycbcr]))
    kept = [marker for marker in [*shared, *markers] if not _is_metadata(marker[0])]
    return _pixels([adobe, *kept] if components == 3 else kept, scans)


def _is_metadata(kind: int) -> bool:
    return 0xE0 <= kind <= 0xEF or kind == _COMMENT


def _parse(data: bytes, *, with_scan: bool = True) -> tuple[list[Marker], bytes]:
    """Return the markers before the first scan with what they hold, and all bytes from that scan on."""
    if data[:2] != START:
        raise damaged("a JPEG stream without its start")
    markers: list[Marker] = []
    at = 2
    while len(markers) < MAX_MARKERS:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 2 > len(data) or data[at] != 0xFF:
            raise damaged(f"a JPEG stream without a marker at byte {at} of {len(data)}")
        kind = data[at + 1]
        if kind == _SCAN and with_scan:
            return markers, data[at:]
        if kind == 0xD9:
            if with_scan:
                raise damaged("a JPEG stream without pixels")
            return markers, b""
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(data):
            raise damaged(f"a JPEG stream whose marker FF{kind:02X} reaches beyond its end")
        markers.append((kind, data[at + 4 : at + 2 + length]))
        at += 2 + length
    raise damaged(f"a JPEG stream of more than {MAX_MARKERS} markers")


def _check_frame(markers: Sequence[Marker], scans: bytes, components: int, remedy: str) -> None:
    """Refuse what is not 8-bit RGB, is beyond bounds, or is damaged."""
    for kind, _ in markers:
        if kind in _OTHER_FRAMES:
            raise unsupported(f"JPEG of the {_OTHER_FRAMES[kind]} kind is not read", remedy)
    frames = [payload for kind, payload in markers if kind in _FRAMES]
    if len(frames) != 1 or len(frames[0]) < 6:
        raise damaged(f"a JPEG stream of {len(frames)} frames, wanted one")
    bits, height, width, result = struct.unpack(">BHHB", frames[0][:6])
    if bits != 8:
        raise unsupported(f"found {bits}-bit samples, {WANTED}", remedy)
    if result != components:
        name = {1: "grey", 3: "colour", 4: "CMYK"}.get(result, f"{result} components")
        raise unsupported(f"found {name}, {WANTED if components == 3 else 'wanted one component'}", remedy)
    check_size(height, width)
    if scans.count(bytes([0xFF, _SCAN])) > MAX_SCANS:
        raise damaged(f"a JPEG stream of more than {MAX_SCANS} scans")
    if _END not in scans:
        raise damaged("a JPEG stream that is truncated: it has no end")


def _pixels(markers: Sequence[Marker], scans: bytes) -> np.ndarray:
    """Decode what is left of a stream: uint8 [H, W, 1 or 3].

    Where a stream ends early, libjpeg leaves the rest grey and says nothing. What ends in that grey, or has several
    scans, is decoded again with noise before its end, which a stream that has all its pixels never comes to read.
    """
    parts = [bytes([0xFF, kind]) + (len(payload) + 2).to_bytes(2, "big") + payload for kind, payload in markers]
    head = b"".join([START, *parts])
    pixels = _decode(head + scans)
    if (pixels[-1, -1] == 128).all() or scans.count(bytes([0xFF, _SCAN])) > 1:
        end = scans.index(_END)
        if not np.array_equal(pixels, _decode(head + scans[:end] + _NOISE + scans[end:])):
            raise damaged("a JPEG stream that ends before its pixels do")
    return pixels


def _decode(data: bytes) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise damaged(f"JPEG: {reason(error)}") from None
    return pixels[..., None] if pixels.ndim == 2 else pixels
