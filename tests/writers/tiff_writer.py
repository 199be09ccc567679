"""A writer of TIFF in every form that the decoder's tests ask for: what a library would not write, too."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from fastpath.ingest.formats import tiff_codecs

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD = 1, 5, 7, 8, 32946, 32773, 34925, 50000
LOSSLESS = (NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, *([ZSTD] if tiff_codecs.has_zstd() else []))
RGB, YCBCR = 2, 6
FORWARD = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


class Form(NamedTuple):
    """What a TIFF is like; the defaults are the plainest."""

    compression: int = NONE
    photometric: int = RGB
    block: tuple[int, int] = (1, 1)  # down, across: pixels that share Cb and Cr
    orientation: int = 1
    alpha: int | None = None  # ExtraSamples: 0 unspecified, 1 associated, 2 unassociated
    predictor: int = 1
    planar: int = 1
    segment: tuple[int, int] | int | None = None  # height and width of tiles, rows of strips, or all in one strip
    order: str = "<"
    big: bool = False


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    """Smooth and coloured, so that sharing colours among neighbours loses little; no two corners alike."""
    y, x = np.mgrid[0:height, 0:width] / 40
    return np.stack([40 + 150 * x, 60 + 120 * y, 200 - 90 * x - 40 * y], axis=2).round().astype(np.uint8)


def lzw(data: bytes) -> bytes:
    """Literals only, with a clear code before codes would grow beyond 9 bits."""
    codes = [code for at in range(0, len(data), 200) for code in (256, *data[at : at + 200])] + [257]
    bits = (np.array(codes)[:, None] >> np.arange(8, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def packbits(data: bytes) -> bytes:
    return b"".join(bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128))


def zstd(data: bytes) -> bytes:
    """One block, stored as it is."""
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data)) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def jpeg(samples_HWC: np.ndarray, rgb: bool) -> bytes:
    """A stream of the samples; Pillow takes for YCbCr what is to stay RGB, and so leaves it alone."""
    height, width, depth = samples_HWC.shape
    mode = "L" if depth == 1 else "YCbCr" if rgb else "RGB"
    file = io.BytesIO()
    Image.frombytes(mode, (width, height), samples_HWC.tobytes()).save(file, "JPEG", quality=100, subsampling=0)
    return file.getvalue()


PACKERS = {
    NONE: bytes,
    LZW: lzw,
    DEFLATE: zlib.compress,
    OLD_DEFLATE: zlib.compress,
    PACKBITS: packbits,
    LZMA: lambda data: lzma.compress(data, preset=0),
    ZSTD: zstd,
}


def packed(segment_HWC: np.ndarray, form: Form) -> bytes:
    """One strip or tile, as it lies in the file."""
    if form.compression == JPEG:
        return jpeg(segment_HWC, form.photometric == RGB)
    if form.block != (1, 1):
        down, across = form.block
        high, wide = -(-segment_HWC.shape[0] // down), -(-segment_HWC.shape[1] // across)
        fill = ((0, high * down - segment_HWC.shape[0]), (0, wide * across - segment_HWC.shape[1]), (0, 0))
        blocks = np.pad(segment_HWC, fill, "edge").reshape(high, down, wide, across, 3).swapaxes(1, 2)
        shared = blocks[..., 1:].mean(axis=(2, 3)).round().astype(np.uint8)
        segment_HWC = np.concatenate([blocks[..., 0].reshape(high, wide, -1), shared], axis=2)
    elif form.predictor == 2:
        segment_HWC = np.diff(segment_HWC, axis=1, prepend=np.zeros_like(segment_HWC[:, :1]))
    return PACKERS[form.compression](segment_HWC.tobytes())


def segments(stored_HWC: np.ndarray, form: Form) -> list[bytes]:
    planes = [stored_HWC] if form.planar == 1 else np.split(stored_HWC, stored_HWC.shape[2], axis=2)
    height, width = stored_HWC.shape[:2]
    if isinstance(form.segment, tuple):
        high, wide = form.segment
        fill = ((0, -height % high), (0, -width % wide), (0, 0))
        planes = [np.pad(plane, fill, "edge") for plane in planes]
    else:
        high, wide = form.segment or height, width
    return [
        packed(np.ascontiguousarray(plane[top : top + high, left : left + wide]), form)
        for plane in planes
        for top in range(0, plane.shape[0], high)
        for left in range(0, plane.shape[1], wide)
    ]


def stored(truth_HWC: np.ndarray, form: Form) -> np.ndarray:
    """The samples that stand for a picture."""
    samples = truth_HWC
    if form.alpha is not None:
        alpha = np.full_like(truth_HWC[..., :1], 220)
        alpha[::3] = 255
        if form.alpha == 1:
            samples = (truth_HWC.astype(float) * alpha / 255).round().astype(np.uint8)
    if form.photometric == YCBCR and form.compression != JPEG:
        ycbcr = samples.astype(float) @ FORWARD.T + (0, 128, 128)
        samples = ycbcr.round().clip(0, 255).astype(np.uint8)
    if form.alpha is not None:
        samples = np.concatenate([samples, alpha], axis=2)
    backward = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[form.orientation]
    return np.ascontiguousarray(turned(samples, backward))


def turned(image_HWC: np.ndarray, orientation: int) -> np.ndarray:
    """What Pillow makes of a picture of an orientation."""
    names = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
    if orientation == 1:
        return image_HWC
    turn = Image.Transpose[names[orientation - 2]]
    channels = [np.asarray(Image.fromarray(channel).transpose(turn)) for channel in np.moveaxis(image_HWC, 2, 0)]
    return np.stack(channels, axis=2)


def tiff(truth_HWC: np.ndarray, form: Form, pad: bytes = b"", **changes: tuple[int, list[int]] | None) -> bytes:
    """Write a picture; `changes` replace tags, `t262=(3, [1])`, or leave them out, `t262=None`; `pad` ends segments."""
    samples = stored(truth_HWC, form)
    height, width, depth = samples.shape
    parts = [part + pad for part in segments(samples, form)]
    short, long = 3, 4
    tags = {256: (long, [width]), 257: (long, [height]), 258: (short, [8] * depth), 259: (short, [form.compression])}
    tags |= {262: (short, [form.photometric]), 274: (short, [form.orientation]), 277: (short, [depth])}
    tags |= {284: (short, [form.planar]), 317: (short, [form.predictor])}
    head = 16 if form.big else 8
    places = head + np.cumsum([0, *map(len, parts[:-1])])
    if isinstance(form.segment, tuple):
        tags |= {322: (short, [form.segment[1]]), 323: (short, [form.segment[0]])}
    else:
        tags[278] = (long, [form.segment or height])
    offset_tag, sizes = (324, 325) if isinstance(form.segment, tuple) else (273, 279)
    tags |= {offset_tag: (long, places.tolist()), sizes: (long, [len(part) for part in parts])}
    if form.alpha is not None:
        tags[338] = (short, [form.alpha])
    if form.photometric == YCBCR and form.compression != JPEG:
        tags[530] = (short, [form.block[1], form.block[0]])
    tags |= {int(name[1:]): value for name, value in changes.items() if value is not None}
    for name in (int(name[1:]) for name, value in changes.items() if value is None):
        tags.pop(name)
    return file_of(b"".join(parts), dict(sorted(tags.items())), form)


def file_of(pixels: bytes, tags: dict[int, tuple[int, list[int]]], form: Form) -> bytes:
    order, letters = form.order, {1: "B", 3: "H", 4: "I", 5: "I"}
    head = struct.pack(f"{order}2sH", b"II" if order == "<" else b"MM", 43 if form.big else 42)
    head += (
        struct.pack(f"{order}HHQ", 8, 0, 16 + len(pixels)) if form.big else struct.pack(f"{order}I", 8 + len(pixels))
    )
    count, entry, offset = ("Q", "HHQ", "Q") if form.big else ("H", "HHI", "I")
    room = struct.calcsize(f"{order}{offset}")
    size = struct.calcsize(f"{order}{count}") + len(tags) * (struct.calcsize(f"{order}{entry}") + room) + room
    after, rows = len(head) + len(pixels) + size, b""
    extra = b""
    for tag, (kind, values) in tags.items():
        content = struct.pack(f"{order}{len(values)}{letters[kind]}", *values)
        number = len(values) // 2 if kind == 5 else len(values)
        rows += struct.pack(f"{order}{entry}", tag, kind, number)
        if len(content) <= room:
            rows += content.ljust(room, b"\0")
        else:
            rows += struct.pack(f"{order}{offset}", after + len(extra))
            extra += content
    return head + pixels + struct.pack(f"{order}{count}", len(tags)) + rows + bytes(room) + extra


SHORT, LONG, FRACTION = 3, 4, 5
PLAIN = Form()
TRUTH = picture()


def made(form: Form = PLAIN, pad: bytes = b"", **changes: tuple[int, list[int]] | None) -> bytes:
    return tiff(TRUTH, form, pad, **changes)


def numbers(data: bytes, tag: int) -> tuple[int, int]:
    """Where a little-endian classic TIFF's first directory has a tag's entry, and the number in it."""
    (start,) = struct.unpack_from("<I", data, 4)
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            return at, struct.unpack_from("<I", data, at + 8)[0]
    raise KeyError(tag)


def patched(data: bytes, tag: int, **fields: int) -> bytes:
    """The same with a tag's `kind`, `count` or `value` rewritten."""
    at, changed = numbers(data, tag)[0], bytearray(data)
    for name, number in fields.items():
        struct.pack_into(
            "<H" if name == "kind" else "<I", changed, at + {"kind": 2, "count": 4, "value": 8}[name], number
        )
    return bytes(changed)


def chained(*pages: bytes, after: int = 0) -> bytes:
    """Single-page files as the pages of one; the last points to `after`."""
    data = bytearray(pages[0])
    for number, page in enumerate(pages):
        (start,) = struct.unpack_from("<I", page, 4)
        base = 0 if number == 0 else len(data)
        if number:
            struct.pack_into("<I", data, link, base + start)  # noqa: F821 (of the page before)
            data += moved(page, base)
        link = base + start + 2 + 12 * struct.unpack_from("<H", page, start)[0]
    struct.pack_into("<I", data, link, after)
    return bytes(data)


def moved(page: bytes, base: int) -> bytes:
    """A single-page file whose offsets count from `base` bytes earlier."""
    data = bytearray(page)
    (start,) = struct.unpack_from("<I", data, 4)
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        tag, kind, count, value = struct.unpack_from("<HHII", data, at)
        if count * {1: 1, 3: 2, 4: 4, 5: 8}[kind] > 4:
            if tag in (273, 324):
                places = np.frombuffer(data, "<u4", count, value) + base
                data[value : value + 4 * count] = places.astype("<u4").tobytes()
            struct.pack_into("<I", data, at + 8, value + base)
        elif tag in (273, 324):
            struct.pack_into("<I", data, at + 8, value + base)
    return bytes(data)


def circle(length: int) -> bytes:
    """Directories that follow one another in a circle."""
    data = bytearray(made())
    (start,) = struct.unpack_from("<I", data, 4)
    size = 2 + 12 * struct.unpack_from("<H", data, start)[0]
    directory, link = bytes(data[start : start + size]), start + size
    for _ in range(length):
        struct.pack_into("<I", data, link, len(data))
        link = len(data) + size
        data += directory + bytes(4)
    struct.pack_into("<I", data, link, start)
    return bytes(data)
