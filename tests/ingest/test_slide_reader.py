"""Regions of a slide, at any scale and beyond its edges, against the pixels it was written from."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from dicom_writer import write_level
from PIL import Image

from fastpath.errors import DataError
from fastpath.ingest import slide_reader
from fastpath.ingest.slide_bounds import check_file, check_levels

pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")


def _waves(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    field = np.stack([np.sin(x / 37), np.sin(y / 29), np.sin((x + y) / 41)], axis=2)
    return (128 + 100 * field).astype(np.uint8)


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[tuple[slide_reader.SlideReader, np.ndarray]]:
    """A pyramid of two levels, half a micrometre a pixel."""
    pixels = _waves(700, 1000)
    options = {"tile": (128, 128), "photometric": "rgb", "resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        writer.write(pixels, **options)
        writer.write(pixels[::2, ::2], subfiletype=1, **options)
    opened = slide_reader.open_slide(tmp_path / "slide.tif")
    yield opened, pixels
    opened.close()


def test_size_and_scale_are_read(slide: tuple[slide_reader.SlideReader, np.ndarray]) -> None:
    assert slide[0].size_px == (1000, 700)
    assert slide[0].mpp == pytest.approx(0.5)


def test_full_resolution_comes_back_as_it_was(slide: tuple[slide_reader.SlideReader, np.ndarray]) -> None:
    region = slide[0].read(130, 50, (96, 64), 1.0)
    np.testing.assert_array_equal(region, slide[1][50:114, 130:226])


@pytest.mark.parametrize("scale", [1.0, 1.5, 1.94, 2.0, 3.3])
def test_a_region_is_where_it_should_be(slide: tuple[slide_reader.SlideReader, np.ndarray], scale: float) -> None:
    left, top, side = 100.4, 63.7, 90
    region = slide[0].read(left, top, (side, side), scale).astype(float)
    at = (np.arange(side) + 0.5) * scale - 0.5
    y, x = np.meshgrid(top + at, left + at, indexing="ij")
    wanted = 128 + 100 * np.stack([np.sin(x / 37), np.sin(y / 29), np.sin((x + y) / 41)], axis=2)
    assert np.abs(region - wanted).max() < 8  # a shift by one pixel of full resolution is 3, by two of them 6
    assert np.abs(region - wanted).mean() < 2


def test_beyond_the_edge_lies_the_background(slide: tuple[slide_reader.SlideReader, np.ndarray]) -> None:
    region = slide[0].read(-20, -10, (50, 50), 1.0)
    assert (region[:10] == 255).all()
    assert (region[:, :20] == 255).all()
    np.testing.assert_array_equal(region[10:, 20:], slide[1][:40, :30])
    assert (slide[0].read(990, 0, (40, 10), 1.0, background=0)[:, 10:] == 0).all()


def test_an_overview_in_bands_is_the_overview_at_once(
    slide: tuple[slide_reader.SlideReader, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = slide[0].overview((250, 176), 4.0)
    monkeypatch.setattr(slide_reader, "_BAND_PIXELS", 16_000)
    banded = slide[0].overview((250, 176), 4.0)
    assert np.abs(whole.astype(int) - banded).max() <= 6  # averaging sees no further than its band
    assert np.abs(whole.astype(int) - banded).mean() < 0.5


def test_what_tells_nothing_of_its_scale_has_none(tmp_path: Path) -> None:
    Image.fromarray(_waves(100, 100)).save(tmp_path / "plain.png", dpi=(72, 72))
    with closing(slide_reader.open_slide(tmp_path / "plain.png")) as opened:
        assert opened.mpp is None


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_what_is_no_slide_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "slide.svs"
    with pytest.raises(DataError, match="found no such file"):
        slide_reader.open_slide(path)
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not an image that OpenSlide reads"):
        slide_reader.open_slide(path)


def _written(path: Path, content: bytes | bytearray) -> Path:
    path.write_bytes(content)
    return path


def _tiled(path: Path, **options: object) -> bytearray:
    tifffile.imwrite(path, _waves(512, 512), tile=(128, 128), photometric="rgb", **options)
    return bytearray(path.read_bytes())


def _with_tags(data: bytearray, tags: dict[int, int]) -> bytearray:
    """The same classic little-endian TIFF with other numbers in its first directory."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, at)
        if tag in tags:
            struct.pack_into("<HII", data, at + 2, 4, 1, tags[tag])
    return data


def _with_chain(data: bytearray, length: int, *, circular: bool) -> bytearray:
    """The same with copies of its directory behind it."""
    (start,) = struct.unpack_from("<I", data, 4)
    size = 2 + 12 * struct.unpack_from("<H", data, start)[0]
    directory, link = bytes(data[start : start + size]), start + size
    first = len(data)
    places = [first + number * (size + 4) for number in range(length)]
    after = [*places[1:], start if circular else 0]
    data += b"".join(directory + struct.pack("<I", following) for following in after[:length])
    struct.pack_into("<I", data, link, places[0] if places else start)
    return data


BOMBS: dict[str, tuple[dict[int, int], int, bool, str]] = {
    "a directory that follows itself": ({}, 0, True, "run in a circle"),
    "99 directories in a circle": ({}, 99, True, "run in a circle"),
    "1,000 directories in a circle": ({}, 1000, True, "run in a circle"),
    "ten thousand directories": ({}, 10_000, False, "more than 4096 directories"),
    "tiles of 2^31": ({322: 2**31, 323: 2**31}, 0, False, "tiles of 2147483648 by 2147483648"),
    "tiles of 2^30 by 16": ({322: 2**30, 323: 16}, 0, False, "tiles of 1073741824 by 16"),
    "tiles of 65,536": ({322: 65536, 323: 65536}, 0, False, "tiles of 65536 by 65536"),
    "tiles of nothing": ({322: 0}, 0, False, "tiles of 0 by 128"),
    "2^31 pixels a side": ({256: 2**31, 257: 2**31}, 0, False, "found 2147483648 by 2147483648 pixels"),
    "more pixels than bytes can hold": ({256: 2**19, 257: 2**19}, 0, False, "more than 7[0-9]+ bytes can hold"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.timeout(30)
def test_a_slide_that_claims_what_none_has_is_refused_in_one_line(bomb: str, tmp_path: Path) -> None:
    tags, length, circular, words = BOMBS[bomb]
    data = _with_tags(_tiled(tmp_path / "slide.tif"), tags)
    if length or circular:
        data = _with_chain(data, length, circular=circular)
    with pytest.raises(DataError, match=words) as caught:
        slide_reader.open_slide(_written(tmp_path / "slide.tif", data))
    assert "\n" not in str(caught.value)


def test_offsets_of_eight_bytes_are_followed(tmp_path: Path) -> None:
    entries = [(256, 4, 1, 100), (257, 4, 1, 100), (65420, 4, 1, 1)]
    first = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<Q", 100)
    entries[0] = (256, 4, 1, 2**31)
    second = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<Q", 0)
    path = _written(tmp_path / "slide.ndpi", b"II*\0" + struct.pack("<Q", 12) + first.ljust(88, b"\0") + second)
    with pytest.raises(DataError, match="found 2147483648 by 100 pixels in directory 2"):
        check_file(path)


LEVELS = {
    "larger than the first": ([(1000, 800), (2000, 1600)], "no more than the 1000 by 800"),
    "of nothing": ([(1000, 800), (0, 0)], "found 0 by 0 pixels in level 1"),
    "of another shape": ([(100_000, 80_000), (50_000, 1_000)], "is no reduction of 100000 by 80000"),
    "too many": ([(1000, 800)] * 65, "found 65 levels"),
    "none": ([], "found 0 levels"),
    "too large": ([(2**31, 2**31)], "found 2147483648 by 2147483648"),
}


@pytest.mark.parametrize("case", LEVELS)
def test_levels_that_lie_are_refused(case: str) -> None:
    sizes_px, words = LEVELS[case]
    with pytest.raises(DataError, match=words):
        check_levels(Path("slide.svs"), sizes_px)


def test_levels_of_scanners_pass() -> None:
    check_levels(Path("slide.svs"), [(97_792, 221_184), (48_896, 110_592), (1024, 1728), (191, 432)])
    check_levels(Path("slide.svs"), [(46_000, 32_914), (11_500, 8_228), (2_875, 2_057)])


def test_damage_within_a_slide_is_one_line(tmp_path: Path) -> None:
    data = _tiled(tmp_path / "slide.tif", compression="zlib")
    with tifffile.TiffFile(tmp_path / "slide.tif") as file:
        offset = file.pages[0].dataoffsets[0]
    data[offset : offset + 200] = bytes(200)
    image = Image.fromarray(_waves(300, 300))
    image.save(tmp_path / "plain.png")
    for path in (
        _written(tmp_path / "slide.tif", data),
        _written(tmp_path / "plain.png", (tmp_path / "plain.png").read_bytes()[:-3000]),
    ):
        with closing(slide_reader.open_slide(path)) as opened:
            with pytest.raises(DataError, match=r"is damaged at \(0, 0\)") as caught:
                opened.read(0, 0, (96, 96), 1.0)
            assert "\n" not in str(caught.value)
            assert "0x" not in str(caught.value)


def test_tissue_is_told_from_glass() -> None:
    overview = np.full((40, 60, 3), 243, np.uint8)
    overview[10:30, 20:40] = (180, 110, 170)
    overview[:4, :4] = 0  # ink
    share = slide_reader.tissue_share(overview, 10)
    assert share.shape == (4, 6)
    assert (share[1:3, 2:4] == 1).all()
    assert share.sum() == 4


@pytest.mark.parametrize(("colour", "wanted"), [((180, 110, 170), 1.0), ((243, 240, 242), 0.0)])
def test_a_slide_of_one_kind_is_not_cut_in_half(colour: tuple[int, int, int], wanted: float) -> None:
    noise = np.random.default_rng(1).integers(-4, 5, (64, 64, 1))
    overview = (np.array(colour) + noise).astype(np.uint8)
    assert (slide_reader.tissue_share(overview, 16) == wanted).all()


@pytest.mark.parametrize(
    ("names", "corner"), [(("x", "y", "width", "height"), (12, 34)), (("x", "y"), (0, 0)), ((), (0, 0))]
)
def test_bounds_count_where_the_file_tells_all_four(names: tuple[str, ...], corner: tuple[int, int]) -> None:
    values = {"x": "12", "y": "34", "width": "900", "height": "800"}
    properties = {f"openslide.bounds-{name}": values[name] for name in names}
    handle = SimpleNamespace(dimensions=(1000, 900), properties=properties)
    assert slide_reader.SlideReader(Path("slide.mrxs"), handle).bounds_corner_px == corner


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """A DICOM slide of two levels, a file each, half a micrometre a pixel."""
    pixels = _waves(700, 1000)
    write_level(tmp_path / "fine.dcm", pixels, 0.5, number=1)
    write_level(tmp_path / "coarse.dcm", pixels[::2, ::2], 1.0, number=2)
    return tmp_path


@pytest.mark.parametrize("name", ["fine.dcm", "coarse.dcm"])
def test_a_dicom_slide_is_read_by_any_of_its_files(dicom: Path, name: str) -> None:
    with closing(slide_reader.open_slide(dicom / name)) as opened:
        assert opened.size_px == (1000, 700)
        assert opened.mpp == pytest.approx(0.5)
        assert opened.snapped(2.01) == 2.0  # the level of the other file
        wanted = _waves(700, 1000).astype(int)
        for left, top, scale in ((130, 50, 1.0), (200, 300, 2.0)):
            region = opened.read(left, top, (96, 64), scale)
            step = int(scale)
            part = wanted[top : top + 64 * step : step, left : left + 96 * step : step]
            assert np.abs(region - part).mean() < 3  # JPEG's
        assert (opened.read(990, 0, (40, 10), 1.0, background=0)[:, 10:] == 0).all()  # not the white that fills tiles


def test_the_folder_of_a_dicom_slide_is_told_to_name_a_file(dicom: Path) -> None:
    with pytest.raises(DataError, match="of a DICOM slide any one of its files"):
        slide_reader.open_slide(dicom)


def test_a_dicom_slide_that_claims_what_none_has_is_refused_in_one_line(tmp_path: Path) -> None:
    """OpenSlide would ask for 17 GB to read a tile of 65,535 pixels a side, and end the process where there is less."""
    pixels = _waves(300, 300)
    write_level(tmp_path / "wide.dcm", pixels, 0.5, number=1, columns=2**31)
    with pytest.raises(DataError, match="found 2147483648 by 300 pixels in level 0"):
        slide_reader.open_slide(tmp_path / "wide.dcm")
    content = (tmp_path / "wide.dcm").read_bytes().replace(struct.pack("<I", 2**31), struct.pack("<I", 300))
    for element in (0x10, 0x11):  # Rows, Columns
        head = struct.pack("<HH2sH", 0x28, element, b"US", 2)
        content = content.replace(head + struct.pack("<H", 256), head + struct.pack("<H", 65535))
    (tmp_path / "wide.dcm").unlink()
    with pytest.raises(DataError, match="found tiles of 65535 by 65535 pixels in level 0"):
        slide_reader.open_slide(_written(tmp_path / "tiles.dcm", content))


def test_a_dicom_slide_that_lacks_tiles_is_damaged_where_they_are_missing(tmp_path: Path) -> None:
    write_level(tmp_path / "slide.dcm", _waves(300, 300), 0.5, number=1, columns=1500)
    opened = slide_reader.open_slide(tmp_path / "slide.dcm")
    with closing(opened), pytest.raises(DataError, match=r"is damaged at \(1100, 0\)"):
        opened.read(1100, 0, (96, 96), 1.0)
