"""A slide cut for a viewer: the tiles put together are the slide, and there are never too many."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from fastpath.ingest import slide_pyramid
from fastpath.ingest.slide_pyramid import TILE_PX, Pyramid
from fastpath.ingest.slide_reader import SlideReader, open_slide

pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[SlideReader]:
    y, x = np.mgrid[0:700, 0:1100]
    pixels = np.stack([x / 1100, y / 700, (x + y) / 1800], axis=2) * 255
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "slide.png")
    with closing(open_slide(tmp_path / "slide.png")) as opened:
        yield opened


def _together(pyramid: Pyramid, level: int) -> np.ndarray:
    """Put the tiles of a level side by side."""
    tiles = {name: content for name, content in pyramid.tiles() if name.startswith(f"{level}/")}
    times = 2 ** (pyramid.levels[1] - level)
    width, height = (-(-side // times) for side in pyramid.size_px)
    whole = Image.new("RGB", (width, height))
    for name, content in tiles.items():
        column, row = map(int, name.partition("/")[2].split("_"))
        whole.paste(Image.open(io.BytesIO(content)), (column * TILE_PX, row * TILE_PX))
    return np.asarray(whole).astype(int)


def test_tiles_put_together_are_the_slide(slide: SlideReader) -> None:
    pyramid = Pyramid(slide)
    assert (pyramid.scale, pyramid.size_px, pyramid.levels) == (1.0, (1100, 700), (9, 11))
    image = _together(pyramid, 11)
    assert np.abs(image - slide.read(0, 0, (1100, 700), 1.0)).mean() < 3  # JPEG's
    half = _together(pyramid, 10)
    assert np.abs(half - slide.read(0, 0, (550, 350), 2.0)).mean() < 3
    names = [name for name, _ in pyramid.tiles()]
    assert names == ["11/0_0", "11/1_0", "11/2_0", "11/0_1", "11/1_1", "11/2_1", "10/0_0", "10/1_0", "9/0_0"]


def test_tiles_are_those_of_openslide(slide: SlideReader) -> None:
    """Its DeepZoom generator cuts the same, so whatever reads such tiles reads these."""
    from openslide import open_slide as opened
    from openslide.deepzoom import DeepZoomGenerator

    generator = DeepZoomGenerator(opened(slide.path), tile_size=TILE_PX, overlap=0)
    pyramid = Pyramid(slide)
    assert pyramid.levels[1] == generator.level_count - 1
    for name, content in pyramid.tiles():
        level, _, at = name.partition("/")
        theirs = np.asarray(generator.get_tile(int(level), tuple(map(int, at.split("_"))))).astype(int)
        ours = np.asarray(Image.open(io.BytesIO(content))).astype(int)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 3


def test_a_large_slide_is_shrunk_to_a_bound(slide: SlideReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_pyramid, "MAX_PIXELS", 200_000)
    pyramid = Pyramid(slide)
    width, height = pyramid.size_px
    assert width * height == pytest.approx(200_000, rel=0.01)
    assert width / height == pytest.approx(1100 / 700, rel=0.01)
    assert np.abs(_together(pyramid, pyramid.levels[1]) - slide.overview((width, height), pyramid.scale)).mean() < 3


@pytest.mark.parametrize("size_px", [(1, 1), (200_000, 90_000), (500_000, 500_000), (500_000, 10), (513, 512)])
def test_no_slide_has_too_many_tiles(size_px: tuple[int, int]) -> None:
    pyramid = Pyramid(cast("Any", SimpleNamespace(size_px=size_px)))
    first, last = pyramid.levels
    widths = [[-(-side // 2 ** (last - level)) for side in pyramid.size_px] for level in range(first, last + 1)]
    assert max(widths[0]) <= TILE_PX
    assert sum(np.prod([-(-side // TILE_PX) for side in sides]) for sides in widths) < 500
