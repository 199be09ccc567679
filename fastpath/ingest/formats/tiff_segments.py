"""The samples of a TIFF's picture, out of its strips or tiles: where they lie, unpacked, put together. Nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastpath.ingest.formats import tiff_codecs as codecs
from fastpath.ingest.formats.jpeg import decode_stream
from fastpath.ingest.formats.tiff_header import Directory
from fastpath.ingest.formats.unreadable import MAX_SIDE_PX, REPACK, damaged, truncated, unsupported

MAX_SEGMENTS = 1 << 16  # 16 × 16 tiles of the largest patch
MAX_PADDED_PIXELS = 2 * MAX_SIDE_PX**2  # of tiles that reach beyond the picture
MAX_OVERLAP = 4  # times a file's length that its segments may hold together; equal ones may share their bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """Where samples lie and how they are packed.

    Attributes:
        height: Of the picture.
        width: Of the picture.
        num_samples: 3, or 4 with alpha.
        planar: Every sample has segments of its own.
        tiled: Segments are tiles; else strips.
        segment_height: Rows of a strip or tile.
        segment_width: Columns of a strip or tile.
        strip_height: Rows that a strip may have, the last one too, though the picture ends.
        compression: As TIFF numbers it.
        predictor: 1, none, or 2, differences along rows.
        block: Height and width of the pixels that share Cb and Cr; (1, 1) where each has its own.
        is_ycbcr: The samples are Y, Cb, Cr.
        offsets: Where segments begin.
        counts: Bytes of segments; 0 where unknown.
        tables: JPEG tables that segments share.
    """

    height: int
    width: int
    num_samples: int
    planar: bool
    tiled: bool
    segment_height: int
    segment_width: int
    strip_height: int
    compression: int
    predictor: int
    block: tuple[int, int]
    is_ycbcr: bool
    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes

    @property
    def depth(self) -> int:
        """Samples of a pixel within a segment."""
        return 1 if self.planar else self.num_samples

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of segments."""
        return -(-self.height // self.segment_height), -(-self.width // self.segment_width)

    def rows(self, number: int) -> int:
        """Rows of pixels in a segment: the last strip may have fewer."""
        row = number % self.grid[0]
        return self.segment_height if self.tiled else min(self.segment_height, self.height - row * self.segment_height)

    def row_bytes(self) -> int:
        """Bytes of a row of a segment, or where pixels share Cb and Cr of a row of blocks."""
        down, across = self.block
        if self.block == (1, 1):
            return self.segment_width * self.depth
        return -(-self.segment_width // across) * (across * down + 2)

    def num_bytes(self, number: int) -> int:
        """Bytes of a segment when unpacked."""
        return -(-self.rows(number) // self.block[0]) * self.row_bytes()

    def most_bytes(self, number: int) -> int:
        """Bytes that a segment may have: writers fill up the last strip, and pad by less than a row."""
        rows = self.rows(number) if self.tiled else max(self.rows(number), self.strip_height)
        return (-(-rows // self.block[0]) + 1) * self.row_bytes() - 1

    @property
    def in_one_piece_at(self) -> int:
        """Where the samples lie as they are, one after the other; 0 where they do not."""
        if self.compression != codecs.NONE or self.depth != self.num_samples or self.grid[1] != 1:
            return 0
        if self.block != (1, 1) or self.segment_width != self.width:
            return 0
        at = self.offsets[0]
        for number, offset in enumerate(self.offsets):
            if offset != at:
                return 0
            at += self.num_bytes(number)
        return self.offsets[0]


def default_subsampling(page: Directory) -> tuple[int, int]:
    """Return what holds where tag 530 is missing: 2 by 2, unless the bytes are those of pixels with Cb and Cr each."""
    full = page.number(256, 0) * page.number(257, 0) * page.number(277, 1)
    plain = page.number(259, 1) == codecs.NONE and 322 not in page
    return (1, 1) if plain and sum(page.numbers(279)) == full else (2, 2)


def layout(page: Directory, num_samples: int, is_ycbcr: bool, block: tuple[int, int], num_bytes: int) -> Layout:
    """Read from a directory where its samples lie.

    Args:
        page: The directory; its size and samples have been checked.
        num_samples: Samples of a pixel.
        is_ycbcr: They are Y, Cb, Cr.
        block: Height and width of the pixels that share Cb and Cr.
        num_bytes: Length of the file.

    Raises:
        UnreadableError: It is contradictory, lies outside the file, or is of a kind that is not read.
    """
    height, width, tiled = page.number(257, 0), page.number(256, 0), 322 in page
    offsets, counts = page.numbers(324 if tiled else 273), page.numbers(325 if tiled else 279)
    planar = page.number(284, 1)
    if planar not in (1, 2):
        raise damaged(f"planar configuration {planar}, wanted 1 or 2")
    described = Layout(
        height=height,
        width=width,
        num_samples=num_samples,
        planar=planar == 2,
        tiled=tiled,
        segment_height=page.number(323, 0) if tiled else min(page.number(278, height), height),
        segment_width=page.number(322, 0) if tiled else width,
        strip_height=min(page.number(278, height), MAX_SIDE_PX),
        compression=page.number(259, 1),
        predictor=page.number(317, 1),
        block=(1, 1) if page.number(259, 1) == codecs.JPEG else block,
        is_ycbcr=is_ycbcr,
        offsets=offsets,
        counts=counts or [0] * len(offsets),
        tables=page.raw(347),
    )
    _check_kind(described, block)
    _check_segments(described, num_bytes)
    return described


def _check_kind(described: Layout, block: tuple[int, int]) -> None:
    """Refuse what cannot be unpacked, by its name."""
    codecs.check(described.compression)
    if described.predictor not in (1, 2):
        raise unsupported(f"predictor {described.predictor} is not read for 8-bit samples", REPACK)
    if described.predictor == 2 and described.compression not in codecs.WITH_PREDICTOR:
        name = codecs.NAMES[described.compression]
        raise unsupported(f"predictor 2 is not read with {name}: readers disagree on what it means there", REPACK)
    if set(block) - {1, 2, 4}:
        raise damaged(f"subsampling of YCbCr by {block}, wanted 1, 2 or 4")
    if described.block != (1, 1) and (described.planar or described.num_samples != 3 or described.predictor != 1):
        beside = "planes" if described.planar else "alpha" if described.num_samples != 3 else "predictor 2"
        raise unsupported(f"subsampled YCbCr with {beside} is not read", REPACK)
    if described.compression == codecs.JPEG and not described.planar and described.num_samples != 3:
        raise unsupported(f"JPEG of {described.num_samples} samples is not read", REPACK)


def _check_segments(described: Layout, num_bytes: int) -> None:
    """Refuse segments that contradict the picture or the file, before any memory is taken."""
    sides = (described.segment_height, described.segment_width)
    if not all(0 < side <= MAX_SIDE_PX for side in sides):
        raise damaged(f"tiles or strips of {sides[1]} by {sides[0]} pixels, wanted 1 to {MAX_SIDE_PX} a side")
    rows, columns = described.grid
    wanted = rows * columns * (described.num_samples if described.planar else 1)
    if rows * sides[0] * columns * sides[1] > MAX_PADDED_PIXELS or wanted > MAX_SEGMENTS:
        raise damaged(
            f"{wanted} tiles or strips of {sides[1]} by {sides[0]} for {described.width} by {described.height} pixels"
        )
    if len(described.offsets) != wanted or len(described.counts) != wanted:
        lengths = f"{len(described.offsets)} offsets and {len(described.counts)} byte counts of tiles or strips"
        raise damaged(f"{lengths}, wanted {wanted} for {described.width} by {described.height} pixels")
    if described.block[0] > 1 and rows > 1 and sides[0] % described.block[0]:
        raise damaged(f"tiles or strips of {sides[0]} rows, wanted a multiple of {described.block[0]}")
    if not all(described.offsets):
        raise damaged("tiles or strips without pixels")
    end = max(map(sum, zip(described.offsets, described.counts, strict=True)))
    if end > num_bytes:
        raise truncated(num_bytes, end)
    if sum(described.counts) > MAX_OVERLAP * num_bytes:
        raise damaged("tiles or strips that lie over each other")


def read(data: bytes, described: Layout) -> tuple[np.ndarray, bool]:
    """Unpack a picture's samples.

    Args:
        data: The file's bytes.
        described: Where they lie.

    Returns:
        uint8 [H, W, samples], and whether YCbCr has become RGB already, as JPEG does it.

    Raises:
        UnreadableError: They are damaged.
    """
    at_once = described.compression == codecs.JPEG and not described.planar
    each = len(described.offsets) // (described.num_samples if described.planar else 1)
    planes = [_plane(data, described, range(start, start + each)) for start in range(0, len(described.offsets), each)]
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2), at_once


def _plane(data: bytes, described: Layout, numbers: range) -> np.ndarray:
    """Put together the segments of a picture, or of one of its planes: uint8 [H, W, depth]."""
    rows, columns = described.grid
    if described.compression == codecs.JPEG:
        parts = [_jpeg(data, described, number) for number in numbers]
    else:
        parts = _unpacked(data, described, numbers)
    if columns == 1:
        whole = parts[0] if rows == 1 else np.concatenate(parts)
    else:
        lines = [np.concatenate(parts[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
        whole = np.concatenate(lines)
    return whole[: described.height, : described.width]


def _unpacked(data: bytes, described: Layout, numbers: range) -> list[np.ndarray]:
    """Return segments as uint8 [rows, columns, depth]."""
    parts = codecs.unpack(
        described.compression,
        [_packed(data, described, number) for number in numbers],
        [described.num_bytes(number) for number in numbers],
        [described.most_bytes(number) for number in numbers],
        described.row_bytes(),
    )
    if described.block != (1, 1):
        return [_of_blocks(part, described) for part in parts]
    shaped = [part.reshape(-1, described.segment_width, described.depth) for part in parts]
    if described.predictor == 2:
        return [np.cumsum(part, axis=1, dtype=np.uint8) for part in shaped]
    return shaped


def _packed(data: bytes, described: Layout, number: int) -> memoryview:
    """Return a segment's bytes; all that follow where their number is unknown."""
    offset, count = described.offsets[number], described.counts[number]
    if described.compression == codecs.NONE:
        return _stored(data, described, number)
    if count == 0:
        if len(described.offsets) > 1:
            raise damaged("packed tiles or strips without a byte count")
        count = len(data) - offset
    return memoryview(data)[offset : offset + count]


def _stored(data: bytes, described: Layout, number: int) -> memoryview:
    """Return an uncompressed segment's bytes: as many as its pixels take, whatever the count says beyond them.

    What is longer than padding, and not zeros, are rows that the header does not know of.
    """
    offset, count, wanted = (
        described.offsets[number],
        described.counts[number],
        described.num_bytes(number),
    )
    if offset + wanted > len(data):
        raise truncated(len(data), offset + wanted)
    beyond = memoryview(data)[offset + wanted : offset + count]
    padded = count <= described.most_bytes(number) or not any(beyond)
    if count and (count < wanted or not padded):
        size = f"{described.segment_width} by {described.rows(number)} pixels"
        raise damaged(f"a tile or strip of {count} bytes, wanted {wanted} for {size}")
    return memoryview(data)[offset : offset + wanted]


def _of_blocks(part: np.ndarray, described: Layout) -> np.ndarray:
    """Return uint8 [rows, columns, 3] of blocks that hold all their Y, then a Cb and a Cr."""
    down, across = described.block
    blocks = part.reshape(-1, described.row_bytes() // (down * across + 2), down * across + 2)
    high, wide = blocks.shape[:2]
    whole = np.empty((high * down, wide * across, 3), np.uint8)
    whole[..., 0] = blocks[..., :-2].reshape(high, wide, down, across).swapaxes(1, 2).reshape(whole.shape[:2])
    whole[..., 1:] = blocks[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    return whole


def _jpeg(data: bytes, described: Layout, number: int) -> np.ndarray:
    """Decode a segment that is a JPEG stream: uint8 [rows, columns, depth]."""
    stream = bytes(_packed(data, described, number))
    decoded = decode_stream(stream, described.tables, described.depth, described.is_ycbcr)
    rows = described.rows(number)
    high, wide = decoded.shape[:2]
    if wide != described.segment_width or not rows <= high <= described.segment_height:
        size = f"{described.segment_width} by {rows} pixels"
        raise damaged(f"a tile or strip whose JPEG has {wide} by {high} pixels, wanted {size}")
    return decoded[:rows]
