"""A writer of small DICOM whole slides (VL Whole Slide Microscopy Image, PS3.3 A.32.8): a file a level, tiled full."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_LONG = ("OB", "SQ")  # value representations whose length takes four bytes


def write_level(
    path: Path, pixels: np.ndarray, mpp: float, *, number: int, tile_px: int = 256, columns: int | None = None
) -> None:
    """Write one level of a slide; those of a slide lie in one folder, OpenSlide finds the others by their series.

    Args:
        path: The file.
        pixels: uint8 [H, W, 3].
        mpp: Micrometres a pixel of this level.
        number: From 1, the finest level first.
        tile_px: Side of a tile.
        columns: What the file claims its width to be; None is the truth.
    """
    height, width = pixels.shape[:2]
    instance, series = f"1.2.826.0.1.3680043.9.{number}", "1.2.826.0.1.3680043.9.100"
    kind = ("ORIGINAL", "NONE") if number == 1 else ("DERIVED", "RESAMPLED")
    spacing = _element(0x28, 0x30, "DS", f"{mpp / 1000:.8f}\\{mpp / 1000:.8f}")
    measures = _sequence(0x28, 0x9110, [spacing])
    frames = _frames(pixels, tile_px)
    body = [
        _element(0x08, 0x08, "CS", f"{kind[0]}\\PRIMARY\\VOLUME\\{kind[1]}"),
        _element(0x08, 0x16, "UI", _WHOLE_SLIDE),
        _element(0x08, 0x18, "UI", instance),
        _element(0x08, 0x60, "CS", "SM"),
        _element(0x20, 0x0D, "UI", f"{series}.1"),
        _element(0x20, 0x0E, "UI", series),
        _element(0x20, 0x13, "IS", str(number)),
        _element(0x20, 0x52, "UI", f"{series}.2"),
        _element(0x20, 0x9311, "CS", "TILED_FULL"),
        _element(0x28, 0x02, "US", 3),
        _element(0x28, 0x04, "CS", "YBR_FULL_422"),
        _element(0x28, 0x06, "US", 0),
        _element(0x28, 0x08, "IS", str(len(frames))),
        _element(0x28, 0x10, "US", tile_px),
        _element(0x28, 0x11, "US", tile_px),
        _element(0x28, 0x100, "US", 8),
        _element(0x28, 0x101, "US", 8),
        _element(0x28, 0x102, "US", 7),
        _element(0x28, 0x103, "US", 0),
        _element(0x48, 0x06, "UL", width if columns is None else columns),
        _element(0x48, 0x07, "UL", height),
        _element(0x48, 0x302, "UL", 1),  # optical paths
        _element(0x48, 0x303, "UL", 1),  # focal planes
        _sequence(0x5200, 0x9229, [measures]),
        _encapsulated(frames),
    ]
    meta = b"".join(
        (
            _element(0x02, 0x01, "OB", b"\0\1"),
            _element(0x02, 0x02, "UI", _WHOLE_SLIDE),
            _element(0x02, 0x03, "UI", instance),
            _element(0x02, 0x10, "UI", _JPEG_BASELINE),
            _element(0x02, 0x12, "UI", "1.2.826.0.1.3680043.9"),
        )
    )
    path.write_bytes(bytes(128) + b"DICM" + _element(0x02, 0x00, "UL", len(meta)) + meta + b"".join(body))


def _frames(pixels: np.ndarray, tile_px: int) -> list[bytes]:
    """Return the tiles as JPEG files, row by row; the last ones are filled up with white."""
    frames = []
    for top in range(0, pixels.shape[0], tile_px):
        for left in range(0, pixels.shape[1], tile_px):
            tile = np.full((tile_px, tile_px, 3), 255, np.uint8)
            part = pixels[top : top + tile_px, left : left + tile_px]
            tile[: part.shape[0], : part.shape[1]] = part
            content = io.BytesIO()
            Image.fromarray(tile).save(content, "jpeg", quality=95, subsampling=0)
            frames.append(content.getvalue())
    return frames


def _element(group: int, element: int, kind: str, value: str | int | bytes) -> bytes:
    """Return a data element, explicit value representation, little-endian; values have an even number of bytes."""
    if isinstance(value, int):
        content = struct.pack("<H" if kind == "US" else "<I", value)
    else:
        content = value.encode() if isinstance(value, str) else value
    if len(content) % 2:
        content += b"\0" if kind in ("UI", "OB") else b" "
    head = struct.pack("<HH2s", group, element, kind.encode())
    length = struct.pack("<HI", 0, len(content)) if kind in _LONG else struct.pack("<H", len(content))
    return head + length + content


def _sequence(group: int, element: int, content: Sequence[bytes]) -> bytes:
    """Return a sequence of one item."""
    item = b"".join(content)
    return _element(group, element, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)


def _encapsulated(frames: Sequence[bytes]) -> bytes:
    """Return pixel data of one fragment a frame, with a table of where each begins (PS3.5 A.4)."""
    padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    starts = np.cumsum([0, *(len(frame) + 8 for frame in padded[:-1])]).astype("<u4").tobytes()
    head = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    items = (struct.pack("<HHI", 0xFFFE, 0xE000, len(each)) + each for each in (starts, *padded))
    return head + b"".join(items) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
