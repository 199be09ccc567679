"""A slide's viewer in a browser, on a screen and a telephone: it zooms, and everything lies where it should."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from viewer_sample import CELL_PX, MPP, NAME, SIZE_PX, TISSUE, write_viewer

from fastpath.figures import style

pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")
pytestmark = pytest.mark.e2e

LOADED = "viewer.world.getItemCount() === 2 && [0, 1].every(n => viewer.world.getItemAt(n).getFullyLoaded())"
CENTRE_PX = """(() => {
  const at = viewer.world.getItemAt(0).viewportToImageCoordinates(viewer.viewport.getCenter());
  return [at.x, at.y];
})()"""
BOX = """(() => {
  const box = document.querySelector('#called path').getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom];
})()"""
ON_SCREEN = """([x, y]) => {
  const at = viewer.world.getItemAt(0).imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
  const corner = byId("scene").getBoundingClientRect();
  return [at.x + corner.left, at.y + corner.top];
}"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The viewer of a plain slide with a block that is called tumour, and a lesion around it."""
    return write_viewer(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(params=[1280, 390])
def page(browser: Any, written: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    # Playwright waits for a condition by `eval`, which the page's policy forbids; test_pages_browser holds the policy.
    opened = browser.new_page(viewport={"width": request.param, "height": 800}, bypass_csp=True)
    complaints: list[str] = []
    requested: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requested.append(request.url))
    opened.goto(written.as_uri())
    opened.wait_for_function(LOADED)
    yield opened
    assert complaints == []
    assert {url for url in requested if not url.startswith("data:")} == {written.as_uri()}
    opened.close()


def _settled(page: Any) -> None:
    """Wait until nothing moves: zoom and centre are where they are heading, and tiles are there."""
    at_rest = "Math.abs(viewer.viewport.getZoom(true) / viewer.viewport.getZoom() - 1) < 1e-4"
    page.wait_for_function(f"{LOADED} && {at_rest}")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def _share(page: Any, colour: str | tuple[int, int, int], within: int = 12) -> float:
    """Return the share of the slide's part of the screen in a colour."""
    content = page.locator("#scene").screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    wanted = np.array(to_rgb(colour)) * 255 if isinstance(colour, str) else np.array(colour)
    return float((np.abs(pixels - wanted).max(axis=2) <= within).mean())


def test_the_slide_is_shown_under_its_heatmap_and_outlines(page: Any) -> None:
    _settled(page)
    tissue, outline = _share(page, TISSUE, within=4), _share(page, style.LESION)
    assert tissue > 0.3  # what is surely normal is not coloured
    assert outline > 0.001
    page.locator("#show_heat").uncheck()
    _settled(page)
    assert _share(page, TISSUE, within=4) > tissue + 0.01
    page.locator("#show_lesions").uncheck()
    assert _share(page, style.LESION) == 0
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_the_scale_bar_tells_what_a_pixel_of_the_screen_is(page: Any) -> None:
    lengths = []
    for _ in range(3):
        _settled(page)
        length = page.locator("#length").inner_text()
        um = float(length.split()[0]) * (1000 if length.endswith("mm") else 1)
        zoom = page.evaluate("viewer.world.getItemAt(0).viewportToImageZoom(viewer.viewport.getZoom(true))")
        width = page.evaluate("document.querySelector('#bar div').getBoundingClientRect().width")
        assert width == pytest.approx(um / MPP * zoom, rel=0.02)
        lengths.append(um)
        page.locator("#in").click()
    assert lengths[0] > lengths[2]


def test_the_surest_tile_is_brought_to_the_middle(page: Any) -> None:
    page.locator(".top button").first.click()
    _settled(page)
    assert page.evaluate(CENTRE_PX) == pytest.approx([1008, 336], abs=2)
    page.locator("#whole").click()
    _settled(page)
    assert page.evaluate(CENTRE_PX) == pytest.approx([SIZE_PX[0] / 2, SIZE_PX[1] / 2], abs=2)


def test_outlines_and_heatmap_lie_over_the_same_place(page: Any) -> None:
    """The box around the outlines on the screen is that of the cells, at any zoom."""
    for button in ("#whole", "#in"):
        page.locator(button).click()
        _settled(page)
        box = page.evaluate(BOX)
        corners = [[9 * CELL_PX, 3 * CELL_PX], [13 * CELL_PX, 6 * CELL_PX]]
        wanted = [value for corner in corners for value in page.evaluate(ON_SCREEN, corner)]
        assert box == pytest.approx(wanted, abs=3)


def test_a_name_is_text_and_the_caution_is_told(page: Any) -> None:
    assert page.locator("h1").inner_text() == NAME
    assert page.title().startswith(NAME)
    assert "12 of 192 scored places (0.03 mm²)" in page.locator("aside").inner_text()
    assert "it is foreign" in page.locator(".notices").inner_text()


def test_the_licence_of_the_library_travels_with_it(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert "Redistributions in binary form must reproduce the above copyright" in text
    assert "CodePlex Foundation" in text
    assert json.dumps(NAME) not in text  # within a script it would end it
