"""Every common form of file gives the pixels that were put in; whatever else comes is a named error."""

from __future__ import annotations

import io
import os
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fastpath.errors import DataError
from fastpath.ingest.formats import decode as module
from fastpath.ingest.formats.decode import ALPHA, PAGES, decode, decode_file, decode_general

PATCH = np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)
RGBA = np.concatenate([PATCH, np.full((96, 96, 1), 90, np.uint8)], axis=2)
OPAQUE = np.concatenate([PATCH, np.full((96, 96, 1), 255, np.uint8)], axis=2)


def tiff(pixels: np.ndarray = PATCH, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **({"photometric": "rgb"} | options))
    return file.getvalue()


def pillow(kind: str = "TIFF", pixels: np.ndarray = PATCH, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


FORMS = {
    "one strip": tiff(),
    "big endian": tiff(byteorder=">"),
    "BigTIFF": tiff(bigtiff=True),
    "BigTIFF, big endian": tiff(bigtiff=True, byteorder=">"),
    "several strips": tiff(rowsperstrip=10),
    "tiles": tiff(tile=(32, 32)),
    "tiles beyond the edge": tiff(tile=(64, 64)),
    "planar": tiff(np.ascontiguousarray(np.moveaxis(PATCH, -1, 0)), planarconfig="separate"),
    "planar strips": tiff(np.ascontiguousarray(np.moveaxis(PATCH, -1, 0)), planarconfig="separate", rowsperstrip=7),
    "planar tiles": tiff(np.ascontiguousarray(np.moveaxis(PATCH, -1, 0)), planarconfig="separate", tile=(32, 32)),
    "deflate": tiff(compression="zlib"),
    "deflate tiles": tiff(compression="zlib", tile=(32, 32)),
    "deflate planar": tiff(
        np.ascontiguousarray(np.moveaxis(PATCH, -1, 0)), planarconfig="separate", compression="zlib"
    ),
    "Pillow, plain": pillow(),
    "Pillow, LZW": pillow(compression="tiff_lzw"),
    "Pillow, LZW with predictor": pillow(compression="tiff_lzw", tiffinfo={317: 2}),
    "Pillow, deflate": pillow(compression="tiff_adobe_deflate"),
    "Pillow, PackBits": pillow(compression="packbits"),
    "RGBA": tiff(RGBA, extrasamples=["unassalpha"]),
    "RGBA, premultiplied": tiff(OPAQUE, extrasamples=["assocalpha"]),
    "RGBA, LZW": pillow(pixels=RGBA, compression="tiff_lzw"),
    "two pages": tiff(np.stack([PATCH, 255 - PATCH])),
    "two pages, deflate": tiff(np.stack([PATCH, 255 - PATCH]), compression="zlib"),
    "PNG": pillow("PNG"),
    "PNG with alpha": pillow("PNG", RGBA),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_lossless_form_gives_the_pixels(form: str) -> None:
    notes: Counter[str] = Counter()
    pixels = decode_general(FORMS[form], form, notes)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, PATCH)
    expected = {ALPHA} if "alpha" in form or "RGBA" in form else {PAGES} if "two pages" in form else set()
    assert set(notes) == expected
    np.testing.assert_array_equal(decode(FORMS[form], form), PATCH)
    np.testing.assert_array_equal(decode(FORMS[form], form), PATCH, err_msg="the second time, by the shortcut or not")


@pytest.mark.parametrize("data", [pillow("JPEG", quality=90), pillow(compression="jpeg", quality=90)])
def test_jpeg_gives_what_pillow_gives(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data, "x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("side", [1, 2, 5, 33, 224, 301])
def test_any_size(side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    for data in (tiff(pixels), tiff(pixels, compression="zlib"), pillow("PNG", pixels)):
        np.testing.assert_array_equal(decode(data, "x"), pixels)


def test_the_shortcut_and_the_general_path_agree_on_real_files(sample_folder: Path) -> None:
    for path in sorted((sample_folder / "train").iterdir())[::25]:
        np.testing.assert_array_equal(decode_file(path), decode_general(path.read_bytes(), path, Counter()))


def test_a_plain_file_is_read_into_place_and_any_other_is_not(tmp_path: Path) -> None:
    layout, out = tiff(), np.zeros_like(PATCH)
    decode(layout, "first")
    decode(layout, "proven")
    other = PATCH[::-1].copy()
    (path := tmp_path / "x.tif").write_bytes(tiff(other))
    status = module.read_plain(str(path), out)
    assert status is not None
    assert status.st_size == len(layout)
    np.testing.assert_array_equal(out, other)
    head = bytes([layout[0] ^ 1])
    for spoiled in (layout + b"x", layout[:-1], head + layout[1:], b"", pillow("PNG")):
        path.write_bytes(spoiled)
        assert module.read_plain(str(path), out) is None
    assert module.read_plain(str(tmp_path / "missing"), out) is None
    assert module.read_plain(str(tmp_path), out) is None
    path.write_bytes(layout)
    assert module.read_plain(str(path), np.zeros((8, 8, 3), np.uint8)) is None


def test_the_shortcut_is_taken_and_only_for_proven_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tiff(), tiff(255 - PATCH)
    decode(first, "first")

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("took the general path")

    monkeypatch.setattr(module, "decode_general", refuse)
    np.testing.assert_array_equal(decode(second, "second"), 255 - PATCH)
    changed = bytearray(second)
    changed[30] ^= 1  # in the header
    with pytest.raises(AssertionError, match="general path"):
        decode(bytes(changed), "changed")


# --- files that are wrong ------------------------------------------------------------------------------------------

TAGS = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "strips": 273}
TAGS |= {"samples": 277, "rows_per_strip": 278, "byte_counts": 279, "planar": 284}


def with_tag(tag: int, *, value: int | None = None, count: int | None = None, kind: int | None = None) -> bytes:
    """A plain little-endian TIFF with one IFD entry rewritten."""
    data = bytearray(tiff())
    ifd = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, ifd)[0]):
        at = ifd + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] == tag:
            if kind is not None:
                struct.pack_into("<H", data, at + 2, kind)
            if count is not None:
                struct.pack_into("<I", data, at + 4, count)
            if value is not None:
                struct.pack_into("<I", data, at + 8, value)
            return bytes(data)
    raise KeyError(tag)


def with_next_ifd(offset: int) -> bytes:
    data = bytearray(tiff())
    ifd = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, ifd + 2 + 12 * struct.unpack_from("<H", data, ifd)[0], offset)
    return bytes(data)


def zlib_bomb(side: int) -> bytes:
    """A few kilobytes that claim and would decode to a huge picture."""
    data = bytearray(tiff(np.zeros((64, 64, 3), np.uint8), compression="zlib"))
    ifd = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, ifd)[0]):
        at = ifd + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] in (256, 257, 278):
            struct.pack_into("<HII", data, at + 2, 4, 1, side)
    return bytes(data)


def attempt(read: Callable[[], np.ndarray]) -> np.ndarray | DataError:
    try:
        return read()
    except DataError as error:
        return error


def palette_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PATCH).quantize(16).save(file, "PNG")
    return file.getvalue()


GOOD = tiff()
WRONG: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"I",
    "magic only": GOOD[:4],
    "header cut in the offset": GOOD[:6],
    "cut before the IFD": GOOD[:8],
    "cut in the count of entries": GOOD[:9],
    **{f"cut in entry {entry}": GOOD[: 10 + 12 * entry + 5] for entry in range(0, 14, 2)},
    "cut before the pixels": GOOD[: len(GOOD) - PATCH.nbytes],
    "cut in the pixels": GOOD[: len(GOOD) - 5000],
    "cut by one byte": GOOD[:-1],
    "text as TIFF": b"II*\0this is no picture but a letter to the editor",
    "text": b"id,label\n1,0\n",
    "HTML": b"<!doctype html><title>404</title>",
    "zeros": bytes(30000),
    "IFD beyond the end": GOOD[:4] + struct.pack("<I", 10**9) + GOOD[8:],
    "IFD in the header": GOOD[:4] + struct.pack("<I", 0) + GOOD[8:],
    "wrong magic number": b"II\x2d\0" + GOOD[4:],
    "byte order turned": b"MM\0*" + GOOD[4:],
    **{f"{name} 0": with_tag(tag, value=0) for name, tag in TAGS.items() if name != "compression"},
    **{f"{name} huge": with_tag(tag, value=0xFFFFFFF0) for name, tag in TAGS.items() if name != "rows_per_strip"},
    **{
        f"{name} of no type": with_tag(tag, kind=99)
        for name, tag in TAGS.items()
        if name in ("width", "height", "bits")
    },
    **{f"{name} with huge count": with_tag(tag, count=0xFFFFFFF0) for name, tag in TAGS.items()},
    "width 95": with_tag(256, value=95),
    "height 97": with_tag(257, value=97),
    "width 100000": with_tag(256, value=100000),
    "one sample": with_tag(277, value=1),
    "compressed by nothing known": with_tag(259, value=60000),
    "said to be LZW": with_tag(259, value=5),
    "said to be JPEG": with_tag(259, value=7),
    "said to be planar": with_tag(284, value=2, count=2),
    "signed": tiff(PATCH.view(np.int8)),
    "CMYK": tiff(RGBA, photometric="separated"),
    "grey": tiff(PATCH[..., 0], photometric="minisblack"),
    "16 bits": tiff(PATCH.astype(np.uint16)),
    "float": tiff(PATCH.astype(np.float32)),
    "GIF": pillow("GIF", PATCH[..., 0]),
    "palette PNG": palette_png(),
    "grey PNG": pillow("PNG", PATCH[..., 0]),
    "PNG cut": FORMS["PNG"][:2000],
    "PNG header only": FORMS["PNG"][:8],
    "PNG with a wrong checksum": FORMS["PNG"][:40] + b"\xff\xff" + FORMS["PNG"][42:],
    "JPEG cut": pillow("JPEG")[:300],
    "JPEG start only": b"\xff\xd8\xff",
    "deflate cut": FORMS["deflate"][:-3000],
    "deflate with wrong bytes": FORMS["deflate"][:-2000] + bytes(2000),
    "bomb of 4 gigapixels": zlib_bomb(65535),
    "bomb of 20 megapixels": zlib_bomb(4500),
    "bomb of 4 megapixels": zlib_bomb(2000),
}


def test_the_corpus_is_large() -> None:
    assert len(WRONG) >= 40


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.timeout(20)
def test_a_wrong_file_is_a_named_error_or_the_right_pixels(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "patch.tif"
    path.write_bytes(WRONG[fault])
    pixels_or_error = attempt(lambda: decode_file(path))
    if isinstance(pixels_or_error, DataError):
        assert str(pixels_or_error).startswith(f"{path}: ")
        assert "\n" not in str(pixels_or_error)
    else:
        np.testing.assert_array_equal(pixels_or_error, PATCH, err_msg="read, but to other pixels")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("data", [with_next_ifd(8), with_next_ifd(struct.unpack_from("<I", GOOD, 4)[0] + 12)])
def test_a_chain_of_pages_that_bites_its_tail_ends(data: bytes) -> None:
    pixels_or_error = attempt(lambda: decode(data, "x"))
    assert isinstance(pixels_or_error, DataError) or np.array_equal(pixels_or_error, PATCH)


def test_files_that_are_not_there_or_not_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        decode_file(tmp_path / "absent.tif")
    with pytest.raises(DataError, match="cannot be read"):
        decode_file(tmp_path)
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(DataError):
        decode_file(tmp_path / "pipe.tif")
    with (tmp_path / "huge.tif").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="wanted a patch of at most"):
        decode_file(tmp_path / "huge.tif")


SEEDS = sorted(FORMS)


@settings(max_examples=200, deadline=None)
@given(form=st.sampled_from(SEEDS), data=st.data())
def test_no_damage_makes_the_decoder_fail_otherwise(form: str, data: st.DataObject) -> None:
    content = bytearray(FORMS[form])
    head = st.integers(0, min(400, len(content) - 1)) | st.integers(0, len(content) - 1)
    for at in data.draw(st.lists(head, max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    pixels_or_error = attempt(lambda: decode_general(bytes(content), "fuzz", Counter()))
    if isinstance(pixels_or_error, DataError):
        assert "\n" not in str(pixels_or_error)
    else:
        assert pixels_or_error.dtype == np.uint8
        assert pixels_or_error.ndim == 3
        assert pixels_or_error.shape[2] == 3


@given(st.binary(max_size=300))
@example(b"II*\0\x08\0\0\0\xff\xff")
def test_no_bytes_make_the_decoder_fail_otherwise(content: bytes) -> None:
    for start in (b"", b"II*\0", b"MM\0*", b"II+\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
        with pytest.raises(DataError):
            decode_general(start + content, "fuzz", Counter())
