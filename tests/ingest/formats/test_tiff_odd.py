"""Odd files of TIFF, each with the pixels or the words that it must give."""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np
import pytest
from tiff_writer import (
    DEFLATE,
    FRACTION,
    JPEG,
    LONG,
    LZMA,
    LZW,
    PACKBITS,
    PLAIN,
    SHORT,
    TRUTH,
    YCBCR,
    ZSTD,
    Form,
    chained,
    circle,
    file_of,
    made,
    numbers,
    patched,
    segments,
    stored,
    tiff,
)

from fastpath.errors import DataError
from fastpath.ingest.formats.decode import PAGES, decode

ROW = 3 * TRUTH.shape[1]


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
    return file_of(b"".join(own), tags, PLAIN)


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
        pixels = decode(READ[name], name)
        assert pixels.shape == truth.shape
        assert np.abs(pixels.astype(int) - truth).max() <= bound


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
