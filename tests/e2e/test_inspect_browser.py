"""The inspection's page as a browser shows it, on a screen and on a telephone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastpath.workflows import pack
from fastpath.workflows.inspect import inspect

pytestmark = pytest.mark.e2e

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BEYOND = """[...document.querySelectorAll('table, td, th')]
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.innerText.slice(0, 40))"""
WIDTHS = "[...document.images].map(image => [image.complete, image.naturalWidth, image.getBoundingClientRect().right])"


@pytest.fixture(scope="module", params=["synthetic", "real"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of synthetic patches with slides, and of the real sample."""
    source = request.getfixturevalue("kaggle_folder" if request.param == "synthetic" else "sample_folder")
    folder = tmp_path_factory.mktemp("browser")
    pack.pack_source(source, folder / "store", workers=1)
    return Path(inspect.inspect_store(folder / "store", folder / "out", per_class=300).report)


@pytest.mark.parametrize("width", [1280, 390])
def test_every_picture_loads_and_nothing_overflows(browser: Any, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    images = page.evaluate(WIDTHS)
    assert len(images) >= 10
    assert all(complete and natural > 0 for complete, natural, _ in images)
    assert all(right <= width for _, _, right in images)
    assert page.evaluate(OVERFLOW) == 0
    assert complaints == []
    assert [url for url in requested if not url.startswith("data:")] == [report.as_uri()]
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 702, "height": 1000})  # A4 less margins of 12 mm
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(BEYOND) == []
    page.close()
