"""One picture has the same pixels in every form of TIFF that is read; the writer of the forms is here."""

from __future__ import annotations

import io
import itertools
import lzma
import resource
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import pytest
from PIL import Image

from fastpath.errors import DataError
from fastpath.ingest import tiff_codecs
from fastpath.ingest.decode import ALPHA, PAGES, TURNED, decode, decode_general

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
    where, sizes = (324, 325) if isinstance(form.segment, tuple) else (273, 279)
    tags |= {where: (long, places.tolist()), sizes: (long, [len(part) for part in parts])}
    if form.alpha is not None:
        tags[338] = (short, [form.alpha])
    if form.photometric == YCBCR and form.compression != JPEG:
        tags[530] = (short, [form.block[1], form.block[0]])
    tags |= {int(name[1:]): value for name, value in changes.items() if value is not None}
    for name in (int(name[1:]) for name, value in changes.items() if value is None):
        tags.pop(name)
    return _file(b"".join(parts), dict(sorted(tags.items())), form)


def _file(pixels: bytes, tags: dict[int, tuple[int, list[int]]], form: Form) -> bytes:
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


def allowed(form: Form) -> bool:
    """Whether the form can be written at all, and is read."""
    if form.predictor == 2 and form.compression not in (LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTD):
        return False
    if form.block != (1, 1) and (form.photometric == RGB or form.planar == 2 or form.alpha is not None):
        return False
    if form.block != (1, 1) and (form.predictor == 2 or form.compression == JPEG):
        return False
    return form.compression != JPEG or (form.alpha is None and (form.planar == 1 or form.photometric == RGB))


def forms() -> list[Form]:
    """The whole product."""
    axes = (
        (*LOSSLESS, JPEG),
        (RGB, YCBCR),
        ((1, 1), (1, 2), (2, 2), (1, 4)),
        range(1, 9),
        (None, 0, 1, 2),
        (1, 2),
        (1, 2),
        (None, 8, (16, 16), (32, 16)),
        "<>",
        (False, True),
    )
    return [form for form in itertools.starmap(Form, itertools.product(*axes)) if allowed(form)]


TRUTH = picture()
ALL = forms()


def check(form: Form) -> None:
    notes: Counter[str] = Counter()
    found = decode_general(tiff(TRUTH, form), form, notes)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    error = np.abs(found.astype(int) - TRUTH).max() if found.shape == TRUTH.shape else found.shape
    exact = form.photometric == RGB and form.compression != JPEG and form.alpha != 1
    bound = 0 if exact else 3 + 2 * (form.alpha == 1) + 4 * (form.block != (1, 1))
    assert error <= bound, form
    assert set(notes) == ({ALPHA} if form.alpha is not None else set()) | ({TURNED} if form.orientation > 1 else set())


def test_the_product_is_whole() -> None:
    assert len(ALL) > 10_000
    for axis, name in enumerate(Form._fields):
        assert len({form[axis] for form in ALL}) == {"compression": len(LOSSLESS) + 1, "orientation": 8}.get(
            name, 2
        ) or axis in (
            2,
            4,
            7,
        )


@pytest.mark.parametrize("compression", [*LOSSLESS, JPEG])
def test_a_picture_is_the_same_in_every_form(compression: int) -> None:
    for form in [form for form in ALL if form.compression == compression][::61]:
        check(form)


def by_pillow(data: bytes) -> np.ndarray | None:
    """What Pillow reads; None where it does not read the form."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "RGBa" else image)[..., :3]
    except (OSError, ValueError):
        return None


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="an older Pillow turns some forms and others not")
def test_pillow_says_the_same_where_it_is_right() -> None:
    """It takes samples of uncompressed YCbCr for RGB, and reads no big-endian BigTIFF and little YCbCr with alpha."""
    agreed = 0
    for form in ALL[::97]:
        data = tiff(TRUTH, form)
        wanted = by_pillow(data)
        if wanted is not None and (form.compression, form.photometric) != (NONE, YCBCR):
            found = decode_general(data, form, Counter()).astype(int)
            assert np.abs(found - wanted).max() <= (2 if form.photometric == YCBCR or form.alpha == 1 else 0), form
            agreed += 1
    assert agreed > len(ALL[::97]) / 3


@pytest.mark.slow
@pytest.mark.parametrize("compression", [*LOSSLESS, JPEG])
def test_a_picture_is_the_same_in_the_whole_product(compression: int) -> None:
    for form in [form for form in ALL if form.compression == compression]:
        check(form)


# --- odd files -----------------------------------------------------------------------------------------------------

SHORT, LONG, FRACTION = 3, 4, 5
PLAIN, ROW = Form(), 3 * TRUTH.shape[1]
PIXELS = "pixels"


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


def of_tiles(tables: bool = False) -> bytes:
    """JPEG tiles, with tables of their own or shared."""
    form = Form(JPEG, YCBCR, segment=(16, 16))
    if not tables:
        return made(form)
    streams = segments(stored(TRUTH, form), form)
    scan = streams[0].index(b"\xff\xc0")
    shared = b"\xff\xd8" + streams[0][streams[0].index(b"\xff\xdb") : scan]
    huffman = streams[0].index(b"\xff\xc4")
    shared += streams[0][huffman : streams[0].index(b"\xff\xda")] + b"\xff\xd9"
    own = [b"\xff\xd8" + each[scan:huffman] + each[each.index(b"\xff\xda") :] for each in streams]
    offsets = (8 + np.cumsum([0, *map(len, own)])).tolist()
    tags = {256: (LONG, [40]), 257: (LONG, [24]), 258: (SHORT, [8] * 3), 259: (SHORT, [JPEG]), 262: (SHORT, [YCBCR])}
    tags |= {277: (SHORT, [3]), 322: (SHORT, [16]), 323: (SHORT, [16]), 324: (LONG, offsets[:-1])}
    tags |= {325: (LONG, list(map(len, own))), 347: (1, list(shared))}
    return _file(b"".join(own), tags, PLAIN)


def in_reference(luma: tuple[int, int, int], reference: list[int]) -> bytes:
    """Uncompressed YCbCr with coefficients and black and white of its own."""
    red, green, blue = (number / 10000 for number in luma)
    y = TRUTH @ np.array([red, green, blue])
    cb, cr = (TRUTH[..., 2] - y) / (2 - 2 * blue), (TRUTH[..., 0] - y) / (2 - 2 * red)
    low, high = np.array(reference[::2]), np.array(reference[1::2])
    codes = np.stack([y, cb, cr], axis=2) * (high - low) / (255, 127, 127) + low
    data = bytearray(tiff(TRUTH, Form(photometric=YCBCR), t529=_fractions(luma, 10000), t532=_fractions(reference, 1)))
    data[8 : 8 + TRUTH.size] = codes.round().clip(0, 255).astype(np.uint8).tobytes()
    return bytes(data)


def _fractions(above: tuple[int, ...] | list[int], below: int) -> tuple[int, list[int]]:
    return FRACTION, [number for each in above for number in (each, below)]


def cut(data: bytes, removed: int) -> bytes:
    return data[:-removed]


def spoiled(data: bytes, at: int, content: bytes) -> bytes:
    return data[:at] + content + data[at + len(content) :]


STRIPS, TILES, ZIP = Form(segment=10), Form(segment=(16, 16)), Form(DEFLATE)
GREY = tiff(TRUTH[:12, :20], PLAIN, t262=(SHORT, [1]))  # a mask or thumbnail's size; refused on its own
THUMBNAIL = tiff(TRUTH[:12, :20], PLAIN, t254=(LONG, [1]))
LAST = made()[struct.unpack_from("<I", made(), 4)[0] :]

READ: dict[str, bytes] = {
    "byte count of 0": made(t279=(LONG, [0])),
    "byte counts of 0": made(STRIPS, t279=(LONG, [0] * 3)),
    "no byte counts": made(STRIPS, t279=None),
    "byte count of 0, Deflate": made(ZIP, t279=(LONG, [0])),
    "byte count of 0, LZW": made(Form(LZW), t279=(LONG, [0])),
    "byte counts of 0, tiles": made(TILES, t325=(LONG, [0] * 6)),
    "padded by 4": made(pad=b"\1\2\3\4"),
    "padded by zeros to the next 4 kB": made(pad=bytes(-TRUTH.size % 4096)),
    "strips padded": made(STRIPS, pad=b"abc"),
    "tiles padded": made(TILES, pad=b"abc"),
    "Deflate padded": made(ZIP, pad=bytes(100)),
    "LZW padded": made(Form(LZW), pad=bytes(3)),
    "the last strip as long as the others": made(STRIPS, pad=b"x" * 6 * ROW, t279=(LONG, [10 * ROW] * 3)),
    "rows per strip without end": made(t278=(LONG, [2**32 - 1])),
    "no rows per strip": made(t278=None),
    "rows per strip beyond the height": made(t278=(SHORT, [100])),
    "one number of bits": made(t258=(SHORT, [8])),
    "sizes as bytes": made(t258=(1, [8] * 3)),
    "no orientation": made(t274=None),
    "orientation 0": made(t274=(SHORT, [0])),
    "orientation 9": made(t274=(SHORT, [9])),
    "two orientations": made(t274=(SHORT, [6, 8])),
    "orientation of another type": patched(made(), 274, kind=2),
    "no planar configuration": made(t284=None),
    "no compression": made(t259=None),
    "no predictor": made(t317=None),
    "alpha that is not named": made(Form(alpha=0), t338=None),
    "garbage behind": made() + b"garbage" * 100,
    "a next page beyond the end": chained(made(), after=2**31),
    "a directory that follows itself": circle(0),
    "99 directories in a circle": circle(99),
    "1,000 directories in a circle": circle(1000),
    "two pages": chained(made(), tiff(255 - TRUTH, PLAIN)),
    "a second page that is grey": chained(made(), GREY),
    "a second page that is damaged": chained(made(), after=9),
    "a thumbnail first": chained(THUMBNAIL, made()),
    "two thumbnails first": chained(THUMBNAIL, THUMBNAIL, made(ZIP)),
    "a thumbnail first, the old way": chained(tiff(TRUTH[:12, :20], PLAIN, t255=(SHORT, [2])), made()),
    "a mask first": chained(patched(tiff(TRUTH[:12, :20], PLAIN, t254=(LONG, [4])), 262, value=4), made()),
    "a thumbnail behind": chained(made(), THUMBNAIL),
    "a lone page that calls itself a thumbnail": made(t254=(LONG, [1])),
    "one of several pages": made(t254=(LONG, [2]), t297=(SHORT, [0, 1])),
    "broken colour profile": patched(made(t34675=(1, [1] * 50)), 34675, count=2**30, value=2**30),
    "broken EXIF": made(t34665=(LONG, [2**31])),
    "broken sub-directory": made(t330=(LONG, [2**31])),
    "broken description": patched(made(t270=(1, [65] * 9)), 270, count=2**31),
    "unknown tags": made(t65000=(SHORT, [1]), t65001=(LONG, [1, 2, 3])),
    "strips that share their bytes": tiff(np.tile(TRUTH[:8], (3, 1, 1)), Form(segment=8), t273=(LONG, [8] * 3)),
    "YCbCr that does not name its sharing": made(Form(photometric=YCBCR), t530=None),
    "YCbCr that shares by default": made(Form(photometric=YCBCR, block=(2, 2)), t530=None),
    "YCbCr of broadcasts": in_reference((2990, 5870, 1140), [16, 235, 128, 240, 128, 240]),
    "YCbCr of high definition": in_reference((2126, 7152, 722), [0, 255, 128, 255, 128, 255]),
    "YCbCr with a broken reference": made(Form(photometric=YCBCR), t532=(SHORT, [1, 2])),
    "JPEG tiles": of_tiles(),
    "JPEG tables shared": of_tiles(tables=True),
    "tiles larger than the picture": made(Form(segment=(64, 64))),
    "the least tiles": made(Form(segment=(1, 1))),
    "BigTIFF with offsets of 4 bytes": made(Form(big=True, segment=5)),
}
"""What gives its pixels."""

NOT_READ: dict[str, tuple[bytes, str]] = {
    "16 bits": (made(t258=(SHORT, [16] * 3)), "found 16-bit RGB samples.*wanted RGB with 8 bits a sample; convert it"),
    "12 bits": (made(t258=(SHORT, [12] * 3)), "found 12-bit RGB samples"),
    "bits that differ": (made(t258=(SHORT, [8, 8, 16])), "found 8- and 16-bit RGB samples"),
    "float": (made(t258=(SHORT, [32] * 3), t339=(SHORT, [3] * 3)), "found 32-bit floating-point RGB samples"),
    "signed": (made(t339=(SHORT, [2] * 3)), "found 8-bit signed RGB samples"),
    "of no kind": (made(t339=(SHORT, [4] * 3)), "found 8-bit undefined RGB samples"),
    "min is white": (made(t258=None, t262=(SHORT, [0]), t277=None), "found 1-bit min-is-white samples"),
    "one bit": (made(t258=(SHORT, [1]), t262=(SHORT, [1]), t277=(SHORT, [1])), "found 1-bit grey samples"),
    "grey": (GREY, r"found 3 samples of grey \(photometric 1\), wanted RGB"),
    "grey with alpha": (made(t262=(SHORT, [1]), t277=(SHORT, [2]), t258=(SHORT, [8, 8])), "found 2 samples of grey"),
    "palette": (made(t262=(SHORT, [3]), t277=None, t258=(SHORT, [8]), t320=(SHORT, [0] * 768)), "1 samples of palette"),
    "mask": (made(t262=(SHORT, [4])), "samples of mask"),
    "CMYK": (made(Form(alpha=0), t262=(SHORT, [5])), r"found 4 samples of CMYK \(photometric 5\)"),
    "Lab": (made(t262=(SHORT, [8])), "samples of CIE Lab"),
    "ICC Lab": (made(t262=(SHORT, [9])), "samples of ICC Lab"),
    "ITU Lab": (made(t262=(SHORT, [10])), "samples of ITU Lab"),
    "LogLuv": (made(t262=(SHORT, [32845])), "samples of LogLuv"),
    "raw of a camera": (made(t262=(SHORT, [32803])), "samples of colour filter array"),
    "meaning unknown": (made(t262=(SHORT, [999])), r"samples of unknown \(photometric 999\)"),
    "meaning untold": (made(t262=None), r"does not say what its samples mean \(tag 262\)"),
    "two samples": (made(t277=(SHORT, [2])), "found 2 samples of RGB"),
    "five samples": (made(t258=(SHORT, [8] * 5), t277=(SHORT, [5])), "found 5 samples of RGB"),
    "bits in reverse": (made(t266=(SHORT, [2])), r"reverse order \(fill order 2\)"),
    "predictor of floats": (made(ZIP, t317=(SHORT, [3])), "predictor 3 is not read"),
    "predictor, uncompressed": (made(t317=(SHORT, [2])), "predictor 2 is not read with no compression"),
    "predictor, PackBits": (made(Form(PACKBITS), t317=(SHORT, [2])), "predictor 2 is not read with PackBits"),
    "picture in a sub-directory": (made(t254=(LONG, [1]), t330=(LONG, [8])), "its picture in a sub-directory"),
    "nothing but thumbnails": (chained(THUMBNAIL, THUMBNAIL), "its picture in no page of its own"),
    "shared Cb and Cr in planes": (
        made(Form(photometric=YCBCR), t284=(SHORT, [2]), t530=(SHORT, [2, 2])),
        "subsampled YCbCr with planes is not read",
    ),
    "shared Cb and Cr with alpha": (
        made(Form(photometric=YCBCR, alpha=2), t530=(SHORT, [2, 2])),
        "subsampled YCbCr with alpha is not read",
    ),
    "JPEG with alpha": (made(Form(alpha=2), t259=(SHORT, [JPEG])), "JPEG of 4 samples is not read"),
    "WebP": (made(t259=(SHORT, [50001])), r"compression WebP \(50001\) is not read; convert it"),
    "unknown compression": (made(t259=(SHORT, [60000])), "compression 60000 is not read"),
} | {
    f"{name} ({number})": (made(t259=(SHORT, [number])), rf"compression {name} \({number}\) is not read; convert it")
    for number, name in {
        2: "CCITT run lengths",
        3: "CCITT fax 3",
        4: "CCITT fax 4",
        6: "old-style JPEG",
        22610: "JPEG XR",
        32809: "ThunderScan",
        33003: "JPEG 2000",
        33004: "JPEG 2000",
        33005: "JPEG 2000",
        34661: "JBIG",
        34712: "JPEG 2000",
        34887: "LERC",
        34933: "PNG",
        50002: "JPEG XL",
        52546: "JPEG XL",
    }.items()
}
"""What is sound, and refused by its name."""

TABLES = of_tiles(tables=True)
DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut by one byte": (cut(made(), 1), "is damaged|is truncated"),
    "cut within its directory": (cut(made(), len(LAST) - 20), "is damaged .a directory that ends at byte"),
    "cut before its directory": (cut(made(), len(LAST)), "is damaged .a directory at byte"),
    "pixels beyond the end": (made(t273=(LONG, [2000])), "is truncated: found .* bytes, wanted"),
    "byte count beyond the end": (made(t279=(LONG, [2**31])), "is truncated"),
    "byte count too small": (made(t279=(LONG, [TRUTH.size - 1])), "a tile or strip of 2879 bytes, wanted 2880"),
    "rows that the height does not know of": (made(t257=(LONG, [20]), t278=None), "a tile or strip of 2880 bytes"),
    "columns that the width does not know of": (made(t256=(LONG, [36])), "a tile or strip of 2880 bytes, wanted 2592"),
    "the same, Deflate": (made(ZIP, t256=(LONG, [36])), "Deflate gives more than 2699 bytes of pixels, wanted 2592"),
    "more columns, Deflate": (made(ZIP, t256=(LONG, [44])), "Deflate gives 2880 bytes of pixels, wanted 3168"),
    "more columns, LZW": (made(Form(LZW), t256=(LONG, [44])), "LZW cannot be unpacked"),
    "more columns, PackBits": (made(Form(PACKBITS), t256=(LONG, [44])), "PackBits cannot be unpacked"),
    "more columns, LZMA": (made(Form(LZMA), t256=(LONG, [44])), "LZMA gives 2880 bytes"),
    "no offsets": (made(t273=None), "0 offsets and 1 byte counts"),
    "an offset of 0": (made(t273=(LONG, [0])), "tiles or strips without pixels"),
    "a missing tile": (made(TILES, t324=(LONG, [8] * 5 + [0])), "tiles or strips without pixels"),
    "too few offsets": (made(STRIPS, t273=(LONG, [8])), "1 offsets and 3 byte counts"),
    "a tag of another type": (patched(made(), 256, kind=2), "tag 256 of type 2, wanted whole numbers"),
    "two widths": (made(t256=(SHORT, [40, 40])), "2 values of tag 256, wanted one"),
    "offsets outside the file": (patched(made(STRIPS), 273, value=2**31), "tag 273 at byte .* reaches to byte"),
    "offsets without end": (patched(made(STRIPS), 273, count=2**31), "2147483648 values of tag 273"),
    "planar configuration 3": (made(t284=(SHORT, [3])), "planar configuration 3, wanted 1 or 2"),
    "sharing by 3": (made(Form(photometric=YCBCR), t530=(SHORT, [3, 3])), "subsampling of YCbCr by"),
    "sharing by one number": (made(Form(photometric=YCBCR), t530=(SHORT, [2])), "subsampling of YCbCr"),
    "coefficients of 0": (made(Form(photometric=YCBCR), t529=_fractions((0, 0, 0), 1)), "coefficients of YCbCr"),
    "coefficients without a divisor": (made(Form(photometric=YCBCR), t529=_fractions((1, 1, 1), 0)), "coefficients"),
    "reference of one number": (made(Form(photometric=YCBCR), t532=_fractions([9] * 6, 1)), "coefficients of YCbCr"),
    "packed strips without byte counts": (made(Form(DEFLATE, segment=10), t279=None), "without a byte count"),
    "Deflate, cut": (made(ZIP, t279=(LONG, [500])), "Deflate ends after"),
    "Deflate without its checksum": (
        made(ZIP, t279=(LONG, [len(segments(TRUTH, ZIP)[0]) - 4])),
        "without its checksum",
    ),
    "Deflate with a wrong checksum": (
        spoiled(made(ZIP), 8 + len(segments(TRUTH, ZIP)[0]) - 4, b"\0\0\0\0"),
        "Deflate: .*incorrect data check",
    ),
    "Deflate that is none": (spoiled(made(ZIP), 8, b"\xff\xff"), "Deflate: .*incorrect header check"),
    "LZMA without its checksum": (
        made(Form(LZMA), t279=(LONG, [len(segments(TRUTH, Form(LZMA))[0]) - 4])),
        "LZMA ends after 2880 bytes of pixels, without its checksum",
    ),
    "LZW that is none": (spoiled(made(Form(LZW)), 300, b"\xff" * 200), "LZW cannot be unpacked"),
    "LZMA that is none": (spoiled(made(Form(LZMA)), 8, b"\xff\xff"), "LZMA: "),
    "Zstandard that is none": (
        spoiled(made(Form(ZSTD)), 8, b"\xff\xff"),
        "Zstandard (cannot be unpacked|.50000. is not read by)",
    ),
    "JPEG that is none": (made(t259=(SHORT, [JPEG])), "a JPEG stream without its start"),
    "JPEG, cut": (made(Form(JPEG), t279=(LONG, [700])), "a JPEG stream that is truncated"),
    "JPEG of another size": (made(Form(JPEG), t256=(LONG, [44])), "whose JPEG has 40 by 24 pixels, wanted 44 by 24"),
    "JPEG of one component": (
        made(Form(JPEG, planar=2), t284=None, t273=(LONG, [8]), t279=(LONG, [600])),
        "found grey, wanted RGB|truncated",
    ),
    "JPEG tables that are none": (
        spoiled(TABLES, numbers(TABLES, 347)[1], b"xx"),
        "a JPEG stream without its start",
    ),
    "a bomb of 4 gigapixels": (made(ZIP, t256=(LONG, [65535]), t257=(LONG, [65535])), "wanted 1 to 4096 a side"),
    "a bomb of 16 megapixels": (made(ZIP, t256=(LONG, [4096]), t257=(LONG, [4096]), t278=None), "Deflate gives 2880"),
    "a bomb of tiles": (made(TILES, t322=(LONG, [2**31]), t323=(LONG, [2**31])), "tiles or strips of 2147483648 by"),
    "tiles that reach far beyond": (
        made(TILES, t256=(SHORT, [4096]), t257=(SHORT, [4096]), t322=(SHORT, [4095]), t323=(SHORT, [4095])),
        "4 tiles or strips of 4095 by 4095",
    ),
    "16 million tiles": (made(Form(segment=(1, 1)), t256=(SHORT, [4096]), t257=(SHORT, [4096])), "16777216 tiles"),
    "tiles of nothing": (made(TILES, t322=(SHORT, [0])), "tiles or strips of 0 by 16"),
    "no pixels": (made(t256=(LONG, [0])), "found 0 by 24 pixels"),
    "a directory of no tags": (b"II*\0" + struct.pack("<IH", 8, 0) + bytes(8), "a directory of 0 tags"),
    "a directory of 65,535 tags": (b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(65535 * 12), "of 65535 tags"),
    "a BigTIFF of 2^64 tags": (
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**64 - 1) + bytes(9),
        "18446744073709551615",
    ),
    "segments over each other": (
        made(Form(DEFLATE, segment=1), t273=(LONG, [8] * 24), t279=(LONG, [1500] * 24)),
        "that lie over each other",
    ),
    "a damaged page behind a thumbnail": (chained(THUMBNAIL, after=9), "is damaged .a directory"),
    "a thumbnail that follows itself": (chained(THUMBNAIL, THUMBNAIL, after=8), "is damaged|its picture in no page"),
}
"""What is refused as damaged, or for what it claims."""


@pytest.mark.parametrize("name", READ)
def test_an_odd_tiff_gives_its_pixels(name: str) -> None:
    truth = np.tile(TRUTH[:8], (3, 1, 1)) if "share their" in name else TRUTH
    bound = 5 if "shares by default" in name else 3 if "YCbCr" in name or "JPEG" in name else 0
    for _ in range(2):  # the second time by the shortcut, where there is one
        found = decode(READ[name], name)
        assert found.shape == truth.shape
        assert np.abs(found.astype(int) - truth).max() <= bound


@pytest.mark.parametrize("name", [*NOT_READ, *DAMAGED])
def test_an_odd_tiff_is_refused_in_its_own_words(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, words = (NOT_READ | DAMAGED)[name]
    with pytest.raises(DataError, match=words) as caught:
        decode(data, "patch.tif")
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)
    assert "is damaged" not in caught.value.problem or name in DAMAGED
    assert capfd.readouterr() == ("", "")


def test_pages_beside_the_picture_are_said() -> None:
    notes: Counter[str] = Counter()
    names = ("two pages", "a thumbnail first", "a mask first", "99 directories in a circle")
    for number, name in enumerate(names, 1):
        decode(READ[name], name, notes)
        assert notes == {PAGES: number}
    for name in ("a directory that follows itself", "a next page beyond the end", "garbage behind"):
        decode(READ[name], name, notes)
    assert notes == {PAGES: len(names)}


def test_strips_out_of_order_are_never_taken_for_a_plain_layout() -> None:
    """The first file's strips are alike, so that its bytes do not tell their order; the second's differ."""
    form, order = Form(segment=12), (LONG, [8 + 12 * ROW, 8])
    decode(tiff(np.zeros_like(TRUTH), form, t273=order), "alike")
    swapped = np.concatenate([TRUTH[12:], TRUTH[:12]])
    np.testing.assert_array_equal(decode(tiff(TRUTH, form, t273=order), "different"), swapped)


# --- bombs ---------------------------------------------------------------------------------------------------------

ROOM = 400 << 20  # for what the largest patch takes several times over, and far less than a bomb would


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Refuse memory beyond what the process has and `ROOM`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def swollen(form: Form, content: bytes, **changes: tuple[int, list[int]] | None) -> bytes:
    """A TIFF whose only strip is something else."""
    size = len(segments(stored(TRUTH, form), form)[0])
    data, at = made(form, **changes), len(made(form)) + 200
    return patched(patched(data.ljust(at, b"\0") + content, 273, value=at), 279, value=len(content)) if size else data


def deflated(num_bytes: int) -> bytes:
    """Zeros without an end: one block that stands alone, again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 22)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x9c" + block * (num_bytes >> 22)


def greedy_lzma() -> bytes:
    """A stream whose dictionary, of 1.5 GiB, has to be there before the first byte."""
    return lzma.compress(TRUTH.tobytes(), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 3 << 20}])


def with_dictionary(stream: bytes, size_code: int) -> bytes:
    """The same xz stream with another size of its dictionary, as its block header codes it."""
    data = bytearray(stream)
    length = (data[12] + 1) * 4
    at = data.index(b"\x21\x01", 12) + 2
    data[at] = size_code
    data[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(data[12 : 12 + length - 4]))
    return bytes(data)


def repeated_packbits(num_bytes: int) -> bytes:
    return b"\x81\0" * (num_bytes // 128)


HUGE = {"t256": (LONG, [4096]), "t257": (LONG, [4096]), "t278": (LONG, [4096])}
BOMBS: dict[str, Callable[[], bytes]] = {
    "Deflate of 4 GiB in a small strip": lambda: swollen(Form(DEFLATE), deflated(1 << 32)),
    "Deflate of 4 GiB in the largest": lambda: swollen(Form(DEFLATE), deflated(1 << 32), **HUGE),
    "Deflate in tiles that each hold all": lambda: made(
        Form(DEFLATE, segment=(16, 16)), t324=(LONG, [8] * 6), t325=(LONG, [60] * 6), t322=(SHORT, [4096])
    ),
    "LZMA with a dictionary of 1.5 GiB": lambda: swollen(Form(LZMA), with_dictionary(greedy_lzma(), 37)),
    "LZMA with a dictionary of 4 GiB": lambda: swollen(Form(LZMA), with_dictionary(greedy_lzma(), 40)),
    "PackBits of 1 GiB": lambda: swollen(Form(PACKBITS), repeated_packbits(1 << 30)),
    "LZW that claims the largest": lambda: made(Form(LZW), **HUGE),
    "PackBits that claims the largest": lambda: made(Form(PACKBITS), **HUGE),
    "plain that claims the largest": lambda: made(**HUGE),
    "JPEG that claims the largest": lambda: made(Form(JPEG), **HUGE),
    "65,536 tiles of the same bytes": lambda: made(
        Form(LZW, segment=(16, 16)),
        t256=(SHORT, [4096]),
        t257=(SHORT, [4096]),
        t324=(LONG, [8] * 65536),
        t325=(LONG, [60] * 65536),
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.timeout(60)
def test_no_bomb_takes_memory_beyond_the_bound(bomb: str, little_memory: None) -> None:
    try:
        found = decode_general(BOMBS[bomb](), bomb, Counter())
    except DataError:
        return
    assert found.shape == TRUTH.shape, "pixels of a patch, however much lies behind them"
