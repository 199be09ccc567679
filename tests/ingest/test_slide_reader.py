"""Regions of a slide, at any scale and beyond its edges, against the pixels it was written from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fastpath.errors import DataError
from fastpath.ingest import slide_reader

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
    found = slide[0].read(130, 50, (96, 64), 1.0)
    np.testing.assert_array_equal(found, slide[1][50:114, 130:226])


@pytest.mark.parametrize("scale", [1.0, 1.5, 1.94, 2.0, 3.3])
def test_a_region_is_where_it_should_be(slide: tuple[slide_reader.SlideReader, np.ndarray], scale: float) -> None:
    left, top, side = 100.4, 63.7, 90
    found = slide[0].read(left, top, (side, side), scale).astype(float)
    at = (np.arange(side) + 0.5) * scale - 0.5
    y, x = np.meshgrid(top + at, left + at, indexing="ij")
    wanted = 128 + 100 * np.stack([np.sin(x / 37), np.sin(y / 29), np.sin((x + y) / 41)], axis=2)
    assert np.abs(found - wanted).max() < 8  # a shift by one pixel of full resolution is 3, by two of them 6
    assert np.abs(found - wanted).mean() < 2


def test_beyond_the_edge_lies_the_background(slide: tuple[slide_reader.SlideReader, np.ndarray]) -> None:
    found = slide[0].read(-20, -10, (50, 50), 1.0)
    assert (found[:10] == 255).all()
    assert (found[:, :20] == 255).all()
    np.testing.assert_array_equal(found[10:, 20:], slide[1][:40, :30])
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
