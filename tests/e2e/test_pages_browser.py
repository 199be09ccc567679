"""Every page as a browser shows it: nothing is lost on a screen, a telephone and paper, and nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from viewer_sample import write_viewer

from fastpath.figures import page as pages
from fastpath.figures import review_page
from fastpath.figures.imprint import written
from fastpath.figures.review_page import MinedPatch, SimilarPatch
from fastpath.workflows import pack
from fastpath.workflows.inspect import inspect

pytestmark = pytest.mark.e2e

A4_PX = 702  # 210 mm less margins of 12 mm, at 96 pixels an inch
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BEYOND = """[...document.querySelectorAll('table, td, th, img, h1, p, button')]
  .filter(one => !one.closest('.scroll') || matchMedia('print').matches)
  .filter(one => one.getBoundingClientRect().width && one.getBoundingClientRect().right > innerWidth + 1)
  .map(one => one.outerHTML.slice(0, 60))"""
BROKEN = """[...document.querySelectorAll('.points td:not(:first-child)')].filter(one => {
  const text = one.firstChild, range = document.createRange();
  range.selectNodeContents(text);
  return text.nodeType === 3 && !text.data.includes(" ") && range.getClientRects().length > 1;
}).map(one => one.innerText)"""
UNSEEN = """[...document.images]
  .filter(one => !one.complete || !one.naturalWidth || !(one.alt || one.closest('button, [aria-label]')))
  .map(one => one.outerHTML.slice(0, 60))"""
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


def _inspected(source: str) -> Callable[[pytest.FixtureRequest, Path], Path]:
    def write(request: pytest.FixtureRequest, folder: Path) -> Path:
        store = folder / "store"
        if source == "packed":
            store = request.getfixturevalue("packed")
        else:
            pack.pack_source(request.getfixturevalue(source), store, workers=1)
        return Path(inspect.inspect_store(store, folder / "out", per_class=300).report)

    return write


def _reviewed(_request: pytest.FixtureRequest, folder: Path) -> Path:
    (folder / "patch.png").write_bytes(PIXEL)
    similar = [SimilarPatch("b", 0, 0.9, same_slide=None, same_pixels=False)]
    reason = "called normal with 0.92 and labelled tumour"
    mined = [
        MinedPatch(
            row,
            f"patch-{row}" * 8,
            "label_error",
            1,
            "slide",
            2.5,
            0.08,
            "run",
            reason,
            "patch.png",
            "patch.png",
            similar,
        )
        for row in range(6)
    ]
    facts = {"table": "mined.parquet", "fingerprint": "0" * 16, "run": "folds", "side_px": 96}
    weights = {"label_error": {"keep": 1.0, "flip": 1.0, "drop": 0.0}}
    rows = [[patch.id, patch.kind, 1, "0"] for patch in mined]
    content = review_page.render(facts, mined, ("id", "kind", "label", "weight"), rows, weights)
    (folder / "review.html").write_bytes(content)
    return folder / "review.html"


def _viewed(_request: pytest.FixtureRequest, folder: Path) -> Path:
    pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")
    return write_viewer(folder)


PAGES: dict[str, Callable[[pytest.FixtureRequest, Path], Path]] = {
    "evaluate": lambda request, _: Path(request.getfixturevalue("evaluated")) / "report.html",
    "inspect": _inspected("packed"),
    "inspect, real": _inspected("sample_folder"),
    "mine": _reviewed,
    "slide": _viewed,
}
PARTS = {"base.html", "parts.html", "external.html", "sites.html", "subgroups.html"}


def test_every_template_of_a_page_is_here() -> None:
    templates = {name for name in pages.environment().list_templates() if name.endswith(".html")}
    assert templates - PARTS == {"evaluate.html", "inspect.html", "review.html", "viewer.html"}


@pytest.fixture(scope="module", params=PAGES)
def written_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PAGES[request.param](request, tmp_path_factory.mktemp("page"))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_fits_screen_telephone_and_paper(browser: Any, written_page: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(written_page.as_uri(), wait_until="load")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    page.evaluate("document.querySelectorAll('img[loading=lazy]').forEach(one => { one.loading = 'eager' })")
    assert page.evaluate("Promise.all([...document.images].map(one => one.decode())).then(() => 0)") == 0
    assert page.evaluate(UNSEEN) == []
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(BEYOND) == []
    assert page.locator("h1").count() == 1
    assert written() in page.locator("body").inner_text()  # the version and the day
    page.emulate_media(media="print")
    page.set_viewport_size({"width": A4_PX, "height": 1000})
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(BEYOND) == []
    assert page.evaluate(BROKEN) == []
    assert page.locator("input[type=range]:visible").count() == 0  # what only a screen can move
    assert complaints == []
    folder = written_page.parent.as_uri()
    assert [url for url in requested if not url.startswith(("data:", "blob:", folder))] == []
    page.close()
