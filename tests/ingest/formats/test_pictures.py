"""PNG and JPEG as people have them, and what is neither: pixels, or a refusal that says what was found."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from fastpath.errors import DataError
from fastpath.ingest.formats.decode import ALPHA, PAGES, TURNED, decode

SMOOTH = np.stack(np.meshgrid(np.arange(48), np.arange(32)), axis=2) * 4
PATCH = np.concatenate([SMOOTH, 200 - SMOOTH[..., :1]], axis=2).astype(np.uint8)
OTHER = 255 - PATCH


def saved(kind: str, image: Image.Image | np.ndarray = PATCH, **options: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


# --- PNG -----------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes, *, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def header(bits: int = 8, colour: int = 2, interlace: int = 0, size: tuple[int, int] = (48, 32)) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlace))


def rows(samples_HWC: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in samples_HWC)


def png(*chunks: bytes, head: bytes | None = None, samples: np.ndarray = PATCH, data: bytes | None = None) -> bytes:
    """A PNG with chunks between its header and its pixels."""
    pixels = chunk(b"IDAT", zlib.compress(rows(samples))) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + (head or header()) + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def interlaced() -> bytes:
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = b"".join(rows(PATCH[top::down, left::across]) for top, left, down, across in starts)
    return png(head=header(interlace=1), data=chunk(b"IDAT", zlib.compress(passes)))


def exif(orientation: int, order: str = ">") -> bytes:
    head = b"MM\0*" if order == ">" else b"II*\0"
    return head + struct.pack(f"{order}IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def turned(orientation: int) -> np.ndarray:
    """What Pillow makes of the picture with an orientation."""
    image = Image.fromarray(PATCH)
    image.getexif()[274] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


RGBA = np.concatenate([PATCH, np.full_like(PATCH[..., :1], 90)], axis=2)
WIDE = np.repeat(PATCH, 2, axis=2)  # 16 bits
IDAT = zlib.compress(rows(PATCH))
BOMB = zlib.compress(bytes(1 << 24))

PNGS: dict[str, tuple[bytes, set[str]]] = {
    "plain": (png(), set()),
    "with alpha": (png(head=header(colour=6), samples=RGBA), {ALPHA}),
    "one colour transparent": (png(chunk(b"tRNS", bytes(6))), {ALPHA}),
    "interlaced": (interlaced(), set()),
    "gamma": (png(chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"cHRM", bytes(32))), set()),
    "palette that only suggests": (png(chunk(b"PLTE", bytes(30))), set()),
    "broken gamma": (png(chunk(b"gAMA", b"x")), set()),
    "colour profile": (png(chunk(b"iCCP", b"x\0\0" + zlib.compress(b"profile"))), set()),
    "broken colour profile": (png(chunk(b"iCCP", b"x\0\0garbage")), set()),
    "colour profile that is a bomb": (png(chunk(b"iCCP", b"x\0\0" + BOMB)), set()),
    "text that is a bomb": (png(*[chunk(b"zTXt", b"x\0\0" + BOMB)] * 50), set()),
    "broken text": (png(chunk(b"iTXt", b"\xff\xff"), chunk(b"tEXt", b"")), set()),
    "metadata with a wrong checksum": (png(chunk(b"tEXt", b"x\0y", checksum=1)), set()),
    "broken EXIF": (png(chunk(b"eXIf", b"garbage")), set()),
    "EXIF without orientation": (png(chunk(b"eXIf", exif(0))), set()),
    "animation": (png(chunk(b"acTL", struct.pack(">II", 2, 0))), {PAGES}),
    "animation of one frame": (png(chunk(b"acTL", struct.pack(">II", 1, 0))), set()),
    "pixels in many chunks": (png(data=b"".join(chunk(b"IDAT", IDAT[at : at + 1]) for at in range(len(IDAT)))), set()),
    "garbage behind": (png() + b"garbage", set()),
    "written by Pillow": (saved("PNG", pnginfo=None, optimize=True), set()),
}
PNGS_REFUSED: dict[str, tuple[bytes, str]] = {
    "16 bits": (png(head=header(16), samples=WIDE), "found 16-bit RGB samples, wanted RGB with 8 bits a sample"),
    "16 bits, alpha": (png(head=header(16, 6), samples=np.repeat(RGBA, 2, axis=2)), "found 16-bit RGBA samples"),
    "16 bits, grey": (saved("PNG", np.zeros((9, 9), np.uint16)), "found 16-bit grey samples"),
    "grey": (saved("PNG", PATCH[..., 0]), "found 8-bit grey samples"),
    "grey with alpha": (saved("PNG", Image.new("LA", (9, 9))), "found 8-bit grey with alpha samples"),
    "one bit": (saved("PNG", Image.new("1", (9, 9))), "found 1-bit grey samples"),
    "palette": (saved("PNG", Image.fromarray(PATCH).quantize(16)), "found 4-bit palette samples"),
    "Apple's own": (
        b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + png()[8:],
        "a chunk b'CgBI' that the format does",
    ),
    "colour of no kind": (png(head=header(colour=5)), "is damaged .PNG: type of colour 5"),
    "two headers": (png(header()), "its header is not its first chunk, or not its only one"),
    "no header": (b"\x89PNG\r\n\x1a\n" + png()[33:], "its header is not its first chunk"),
    "header too short": (png(head=chunk(b"IHDR", b"x")), "a header of 1 bytes"),
    "header with a wrong checksum": (png(head=header()[:-1] + b"x"), "the checksum of a chunk IHDR is wrong"),
    "pixels with a wrong checksum": (png(data=chunk(b"IDAT", IDAT, checksum=1)), "the checksum of a chunk IDAT"),
    "pixels cut": (png(data=chunk(b"IDAT", IDAT[:-100])), "is damaged .PNG: "),
    "pixels that are none": (png(data=chunk(b"IDAT", b"garbage")), "is damaged .PNG: "),
    "no pixels": (png(data=b""), "is damaged .PNG: "),
    "cut by one byte": (png()[:-1], "is truncated: found .* bytes, wanted"),
    "cut by half": (png()[:1000], "is truncated"),
    "without its end": (png()[:-12], "is truncated"),
    "its start only": (png()[:8], "is truncated"),
    "a bomb of 4 gigapixels": (png(head=header(size=(65535, 65535))), "found 65535 by 65535 pixels, wanted 1 to 4096"),
    "a bomb of 2^31": (png(head=header(size=(2**31 - 1, 1))), "wanted 1 to 4096"),
    "no size": (png(head=header(size=(0, 32))), "found 0 by 32 pixels"),
    "chunks without end": (png(*[chunk(b"tEXt", b"")] * 70_000), "more than 65536 chunks"),
}


@pytest.mark.parametrize("name", PNGS)
def test_a_png_gives_its_pixels_whatever_is_said_beside_them(name: str) -> None:
    data, expected = PNGS[name]
    notes: Counter[str] = Counter()
    np.testing.assert_array_equal(decode(data, name, notes), PATCH)
    assert set(notes) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_a_picture_stands_upright(orientation: int, order: str) -> None:
    notes: Counter[str] = Counter()
    wanted = turned(orientation)
    content = exif(orientation, order)
    np.testing.assert_array_equal(decode(png(chunk(b"eXIf", content)), "png", notes), wanted)
    jpeg = saved("JPEG", quality=100, subsampling=0)
    pixels = decode(jpeg[:2] + marker(0xE1, b"Exif\0\0" + content) + jpeg[2:], "jpeg", notes)
    assert pixels.shape == wanted.shape
    assert np.abs(pixels.astype(int) - wanted).max() <= 3
    assert notes == ({TURNED: 2} if orientation > 1 else {})


# --- JPEG ----------------------------------------------------------------------------------------------------------


def marker(kind: int, content: bytes) -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", len(content) + 2) + content


def beside(*markers: bytes) -> bytes:
    """A JPEG with markers behind its start."""
    return JPEG[:2] + b"".join(markers) + JPEG[2:]


def as_frame(kind: int, *, bits: int = 8, height: int = 32, components: int | None = None) -> bytes:
    """The same JPEG with another start of its frame."""
    at = JPEG.index(b"\xff\xc0")
    changed = bytearray(JPEG)
    changed[at + 1], changed[at + 4] = kind, bits
    struct.pack_into(">H", changed, at + 5, height)
    if components:
        changed[at + 9] = components
    return bytes(changed)


def rgb_jpeg() -> bytes:
    """Components that are red, green and blue, and Adobe's marker that says so."""
    file = io.BytesIO()
    Image.frombytes("YCbCr", (48, 32), PATCH.tobytes()).save(file, "JPEG", quality=100, subsampling=0)
    data = file.getvalue()
    return data[:2] + marker(0xEE, b"Adobe\0\x64\0\0\0\0\0") + data[data.index(b"\xff\xdb") :]


JPEG = saved("JPEG", quality=100, subsampling=0)
GREY_BELOW = np.concatenate([PATCH[:16], np.full_like(PATCH[:16], 128)])
PROGRESSIVE = saved("JPEG", quality=100, subsampling=0, progressive=True)
JPEGS: dict[str, tuple[bytes, set[str]]] = {
    "plain": (JPEG, set()),
    "progressive": (PROGRESSIVE, set()),
    "ends in grey": (saved("JPEG", GREY_BELOW, quality=100, subsampling=0), set()),
    "shared chroma": (saved("JPEG", quality=100, subsampling=2), set()),
    "restart markers": (saved("JPEG", quality=100, subsampling=0, restart_marker_blocks=2), set()),
    "red, green and blue": (rgb_jpeg(), set()),
    "without JFIF": (JPEG[:2] + JPEG[JPEG.index(b"\xff\xdb") :], set()),
    "broken EXIF": (beside(marker(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x99" * 30)), set()),
    "EXIF that is empty": (beside(marker(0xE1, b"Exif\0\0")), set()),
    "EXIF twice": (beside(*[marker(0xE1, b"Exif\0\0" + exif(1))] * 2), set()),
    "broken resolution": (beside(marker(0xE1, b"Exif\0\0" + exif(1)[:-20])), set()),
    "broken colour profile": (beside(marker(0xE2, b"ICC_PROFILE\0\x09\x01garbage")), set()),
    "broken Photoshop block": (beside(marker(0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 20)), set()),
    "broken XMP": (beside(marker(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x")), set()),
    "comments": (beside(*[marker(0xFE, b"\xff\xd9\xff\xda")] * 200), set()),
    "several pictures": (beside(marker(0xE2, b"MPF\0garbage")), {PAGES}),
    "filled between markers": (JPEG[:2] + b"\xff\xff\xff" + JPEG[2:], set()),
    "garbage behind": (JPEG + b"garbage", set()),
}
JPEGS_REFUSED: dict[str, tuple[bytes, str]] = {
    "grey": (saved("JPEG", PATCH[..., 0]), "found grey, wanted RGB with 8 bits a sample; convert it"),
    "CMYK": (saved("JPEG", Image.new("CMYK", (9, 9))), "found CMYK, wanted RGB"),
    "two components": (as_frame(0xC0, components=2), "found 2 components, wanted RGB"),
    "12 bits": (as_frame(0xC1, bits=12), "found 12-bit samples, wanted RGB"),
    "lossless": (as_frame(0xC3), "JPEG of the lossless kind is not read"),
    "hierarchical": (as_frame(0xC5), "JPEG of the hierarchical kind is not read"),
    "arithmetic": (as_frame(0xC9), "JPEG of the arithmetic kind is not read"),
    "height untold": (as_frame(0xC0, height=0), "found 48 by 0 pixels"),
    "a bomb": (as_frame(0xC0, height=65535), "found 48 by 65535 pixels, wanted 1 to 4096"),
    "taller than it is": (as_frame(0xC0, height=4096), "a JPEG stream that ends before its pixels do"),
    "cut, and ended": (JPEG[: len(JPEG) * 3 // 4] + JPEG[-2:], "a JPEG stream that ends before its pixels do"),
    "progressive, cut and ended": (PROGRESSIVE[:-40] + JPEG[-2:], "a JPEG stream that ends before its pixels do"),
    "scans without end": (JPEG[:-2] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * 200 + JPEG[-2:], "more than 100 scans"),
    "markers without end": (beside(*[marker(0xFE, b"")] * 20_000), "more than 16384 markers"),
    "cut by one byte": (JPEG[:-1], "is damaged .a JPEG stream that is truncated"),
    "cut by half": (JPEG[: len(JPEG) // 2], "truncated"),
    "cut within its header": (JPEG[:300], "is damaged"),
    "its start only": (b"\xff\xd8\xff", "is damaged"),
    "no pixels": (JPEG[:20] + b"\xff\xd9", "a JPEG stream without pixels"),
    "no frame": (JPEG[:20] + JPEG[JPEG.index(b"\xff\xda") :], "of 0 frames, wanted one"),
    "a scan that is none": (JPEG[: JPEG.index(b"\xff\xda") + 2] + b"\xff\xd9", "is damaged .JPEG: "),
    "no tables": (JPEG[:20] + JPEG[JPEG.index(b"\xff\xc0") :], "is damaged|JPEG: "),
    "zeros within": (JPEG[:100] + bytes(len(JPEG) - 102) + JPEG[-2:], "is damaged"),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_gives_its_pixels_whatever_is_said_beside_them(name: str) -> None:
    data, expected = JPEGS[name]
    notes: Counter[str] = Counter()
    pixels = decode(data, name, notes)
    wanted = GREY_BELOW if name == "ends in grey" else PATCH
    assert np.abs(pixels.astype(int) - wanted).max() <= (16 if name == "shared chroma" else 3)
    assert set(notes) == expected


# --- neither -------------------------------------------------------------------------------------------------------

NEITHER: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "found an empty file, wanted a TIFF, PNG or JPEG"),
    "zeros": (bytes(27_935), "found nothing but zeros"),
    "text": (b"patch,label\n", "found bytes b'patc'"),
    "GIF": (saved("GIF"), "found GIF, wanted"),
    "GIF, animated": (saved("GIF", save_all=True, append_images=[Image.fromarray(OTHER)]), "found GIF"),
    "BMP": (saved("BMP"), "found BMP"),
    "BMP, palette": (saved("BMP", Image.new("P", (9, 9))), "found BMP"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "found JPEG 2000"),
    "JPEG 2000 stream": (b"\xff\x4f\xff\x51\0\0", "found JPEG 2000"),
    "WebP": (b"RIFF\x24\0\0\0WEBPVP8 ", "found WebP"),
    "AVIF": (b"\0\0\0\x20ftypavif", "found HEIF or AVIF"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n", "found JPEG XL"),
    "JPEG XR": (b"II\xbc\1\x08\0\0\0", "found JPEG XR"),
    "Photoshop": (b"8BPS\0\1", "found Photoshop"),
    "DICOM": (bytes(128) + b"DICM\2\0", "found DICOM"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "found HDF5"),
    "array": (b"\x93NUMPY\1\0", "found NumPy array"),
    "web page": (b"<!DOCTYPE html>\n<html>", "found a web page or XML"),
    "web page with a byte order mark": (b"\xef\xbb\xbf\n <HTML><body>404", "found a web page or XML"),
    "XML": (b"<?xml version='1.0'?><Error><Code>NoSuchKey", "found a web page or XML"),
    "PDF": (b"%PDF-1.7", "found PDF"),
    "ZIP": (b"PK\3\4\x14\0", "found ZIP archive"),
    "packed by gzip": (gzip.compress(png()), "found gzip file"),
    "AppleDouble": (b"\0\5\x16\7\0\2\0\0Mac OS X", "found AppleDouble"),
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "found Git LFS pointer"),
    "its magic only": (b"II*\0", "is damaged .a TIFF of 4 bytes"),
    "one byte": (b"I", "found bytes b'I'"),
}
REFUSED = {
    f"{kind}, {name}": case
    for kind, cases in (("PNG", PNGS_REFUSED), ("JPEG", JPEGS_REFUSED), ("neither", NEITHER))
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.timeout(20)
def test_what_gives_no_pixels_says_why(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, words = REFUSED[name]
    with pytest.raises(DataError, match=words) as caught:
        decode(data, "patch.tif")
    assert str(caught.value).startswith("patch.tif: ")
    assert "0x" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_pixels_that_are_a_bomb_are_not_unpacked() -> None:
    """What lies behind the last row is left where it is."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 22)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = b"\x78\x9c" + block * 512  # 2 GiB of zeros
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pixels = decode(png(data=chunk(b"IDAT", bomb)), "bomb")
    assert pixels.shape == PATCH.shape
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10, "KiB"


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ""])
def test_the_suffix_says_nothing(suffix: str) -> None:
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, PATCH, photometric="rgb")
    for data in (png(), tiff.getvalue()):
        np.testing.assert_array_equal(decode(data, f"patch{suffix}"), PATCH)
    assert np.abs(decode(JPEG, f"patch{suffix}").astype(int) - PATCH).max() <= 3


def test_16_bits_are_refused_alike() -> None:
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, PATCH.astype(np.uint16), photometric="rgb")
    for data in (tiff.getvalue(), png(head=header(16), samples=WIDE)):
        with pytest.raises(DataError, match=r"found 16-bit RGB samples.*wanted RGB with 8 bits a sample"):
            decode(data, "x")


def test_what_no_one_foresaw_names_the_file_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError(f"{io.BytesIO()!r}\nand more")

    monkeypatch.setattr("fastpath.ingest.formats.decode.png.decode_png", fail)
    with pytest.raises(DataError, match=r"^patch\.tif: cannot be decoded \(KeyError: .it.*and more") as caught:
        decode(png(), "patch.tif")
    assert "\n" not in str(caught.value)
