"""The review page in a browser: keys and buttons decide, and what is downloaded is trained with."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastpath.config import parse
from fastpath.figures import review_page
from fastpath.figures.review_page import MinedPatch, SimilarPatch
from fastpath.runs import mined_table, mined_training, out_of_fold
from fastpath.runs.run_data import open_run_data
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.workflows import pack
from fastpath.workflows.mine import mine
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

SETTINGS: dict[str, Any] = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "train": {"epochs": 1},
}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
NAMELESS = """[...document.querySelectorAll('button, img, select, input, [role=img]')]
  .filter(one => one.checkVisibility() && !one.matches('#all img'))
  .filter(one => !(one.alt || one.ariaLabel || one.innerText || one.labels?.length)).map(one => one.outerHTML)"""
PIXEL = (
    "document.querySelector('#picture').getBoundingClientRect().width / document.querySelector('#picture').naturalWidth"
)
KEYS = "kfdkfd"


class Mined(NamedTuple):
    """A store, its mined table, and the page of it."""

    store: Path
    table: Path
    page: Path


@pytest.fixture(scope="module")
def mined(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mined:
    """Mined by predictions that are wrong about every seventh patch, so that there are label errors and hard ones."""
    folder = tmp_path_factory.mktemp("review")
    pack.pack_source(kaggle_folder, folder / "store", workers=1)
    train.train_run(folder / "store", folder / "run", parse(SETTINGS), resolve("cpu"))
    store = open_store(folder / "store")
    rows_N = np.arange(len(store))
    logits_N = np.where(store.labels_N == 1, 3.0, -3.0) + np.linspace(-0.5, 0.5, len(rows_N))
    logits_N[::7] *= -1
    out_of_fold.write(folder / "folds.parquet", store, rows_N, logits_N, rows_N % 3, history="held out")
    result = mine.mine_patches(
        folder / "run",
        folder / "mined.parquet",
        resolve("cpu"),
        predictions=folder / "folds.parquet",
        options=mine.MineOptions(hard_share=0.2),
    )
    return Mined(folder / "store", result.table, result.review)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a browser that knows nothing yet; at the end, nothing was complained of or fetched elsewhere."""
    complaints: list[str] = []
    requested: list[str] = []
    contexts: dict[int, Any] = {}

    def opened(page: Path, width: int = 1280) -> Any:
        if width not in contexts:
            contexts[width] = browser.new_context(viewport={"width": width, "height": 850}, accept_downloads=True)
        tab = contexts[width].new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requested.append(request.url))
        tab.goto(page.as_uri())
        return tab

    yield opened
    for context in contexts.values():
        context.close()
    assert complaints == []
    assert {url.split(":")[0] for url in requested} <= {"file", "data", "blob"}


def download(tab: Any, target: Path) -> Path:
    with tab.expect_download() as loading:
        tab.locator("#download").click()
    assert loading.value.suggested_filename == "mined-reviewed.csv"
    loading.value.save_as(target)
    return target


def text(tab: Any, selector: str) -> str:
    return str(tab.locator(selector).inner_text())


def test_what_keys_decide_is_trained_on(visit: Callable[..., Any], mined: Mined, tmp_path: Path) -> None:
    before = {str(row["id"]): row for row in mined_table.read(mined.table).frame.to_dict("records")}
    assert {"label_error", "hard_negative", "hard_positive"} == {row["kind"] for row in before.values()}
    tab, decided = visit(mined.page), {}
    for number, key in enumerate(KEYS, start=1):
        decided[text(tab, "#id")] = {"k": "keep", "f": "flip", "d": "drop"}[key]
        tab.keyboard.press(key)
        assert text(tab, "#count") == f"{number} of {len(before)} reviewed"
    tab.locator("#kind").select_option("hard_negative")
    for key in KEYS[:3]:  # the hard ones too, at the first of which a filter begins
        decided[text(tab, "#id")] = {"k": "keep", "f": "flip", "d": "drop"}[key]
        tab.keyboard.press(key)
    assert len(decided) == 9
    path = download(tab, tmp_path / "mined-reviewed.csv")

    after = {str(row["id"]): row for row in mined_table.read(path).frame.to_dict("records")}
    assert list(after) == list(before)
    settings = parse({**SETTINGS, "data": {**SETTINGS["data"], "extra": str(path)}})
    plain = open_run_data(mined.store, settings)
    data = mined_training.with_extra(plain, settings)
    assert data.weights_N is not None
    weight_of = dict(zip(data.patches.ids_N[data.train_rows_N], data.weights_N, strict=True))
    label_of = dict(zip(data.patches.ids_N, data.patches.labels_N, strict=True))
    for name, row in before.items():
        decision = decided.get(name)
        assert (after[name]["decision"] if decision else None) == decision
        assert label_of[name] == (1 - row["label"] if decision == "flip" else row["label"])
        kept = 1.0 if row["kind"] == "label_error" else 2.0
        weight = {"keep": kept, "flip": 1.0, "drop": None}.get(str(decision), row["weight"] or None)
        assert weight_of.get(name) == weight
        assert all(after[name][column] == row[column] for column in ("kind", "store_fingerprint", "split_fingerprint"))
        assert after[name]["loss"] == pytest.approx(row["loss"], rel=1e-8)
    untouched = set(plain.store.ids_N[plain.train_rows_N]) - set(before)
    assert {weight_of[name] for name in untouched} == {1.0}

    events: list[Any] = []
    train.train_run(mined.store, tmp_path / "again", settings, resolve("cpu"), on_event=events.append)
    assert events[0].num_train == len(weight_of)


def test_a_closed_tab_loses_nothing_and_undo_goes_back(visit: Callable[..., Any], mined: Mined) -> None:
    tab = visit(mined.page)
    first = text(tab, "#id")
    tab.keyboard.press("f")
    second = text(tab, "#id")
    assert first != second
    tab.keyboard.press("ArrowRight")
    third = text(tab, "#id")
    tab.close()

    tab = visit(mined.page)
    assert text(tab, "#id") == third
    assert text(tab, "#count").startswith("1 of")
    for name in (second, first):
        tab.keyboard.press("ArrowLeft")
        assert text(tab, "#id") == name
    pressed = tab.locator("#decide [aria-pressed=true]")
    assert pressed.get_attribute("data-decision") == "flip"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("u")
    assert text(tab, "#id") == first
    assert text(tab, "#count").startswith("0 of")
    assert pressed.count() == 0
    assert tab.locator("#undo").is_disabled()


def test_two_tabs_of_a_page_agree(visit: Callable[..., Any], mined: Mined) -> None:
    first, other = visit(mined.page), visit(mined.page)
    first.keyboard.press("d")
    other.wait_for_function("document.querySelector('#count').textContent.startsWith('1 of')")
    assert other.locator("#all [data-decision=drop]").count() == 1


def test_filters_show_what_they_say_and_typing_in_them_decides_nothing(visit: Callable[..., Any], mined: Mined) -> None:
    counts = mined_table.read(mined.table).frame["kind"].value_counts()
    tab = visit(mined.page)
    tab.locator("#kind").select_option("hard_positive")
    shown = tab.locator("#all button:not([hidden])")
    assert shown.count() == counts["hard_positive"]
    assert "hard tumour" in text(tab, "#title")
    tab.locator("#kind").focus()
    tab.keyboard.press("k")
    assert text(tab, "#count").startswith("0 of")
    tab.locator("#kind").evaluate("one => one.blur()")
    tab.locator("#undecided").check()
    for left in range(counts["hard_positive"] - 1, -1, -1):
        tab.keyboard.press("k")
        assert shown.count() == left
    assert tab.locator("#none").is_visible()
    assert not tab.locator("#work").is_visible()
    tab.keyboard.press("u")
    assert shown.count() == 1
    assert tab.locator("#work").is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window_and_everything_has_a_name(visit: Callable[..., Any], mined: Mined, width: int) -> None:
    tab = visit(mined.page, width)
    tab.wait_for_function("document.querySelector('#picture').naturalWidth > 0")
    tab.evaluate("void (byId('kind').options[1].text = 'likely label error, 2,000')")
    tab.evaluate("void (byId('count').textContent = '1,999 of 2,000 reviewed')")
    assert tab.evaluate(OVERFLOW) == 0
    assert tab.evaluate(NAMELESS) == []
    pixel = tab.evaluate(PIXEL)
    assert pixel == int(pixel) >= 3  # sharp: no pixel is wider than another
    outer, inner = tab.locator("#picture").bounding_box(), tab.locator("#seen .frame").bounding_box()
    for start, side in (("x", "width"), ("y", "height")):
        assert inner[start] - outer[start] == pytest.approx(outer[side] / 3, abs=1)
        assert inner[side] == pytest.approx(outer[side] / 3, abs=1)
    tab.locator("#decide button", has_text="Drop").click()  # a finger has no keys
    assert text(tab, "#count").startswith("1 of")
    assert tab.locator("#similar .cut").count() == 5
    tab.keyboard.press("c")
    assert not tab.locator("#seen .frame").is_visible()
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 702, "height": 1000})  # A4 less margins of 12 mm
    assert tab.evaluate(OVERFLOW) == 0


def test_a_browser_that_keeps_nothing_says_so_and_still_decides(
    visit: Callable[..., Any], mined: Mined, tmp_path: Path
) -> None:
    tab = visit(mined.page)
    assert not tab.locator("#unkept").is_visible()
    tab.evaluate("void (Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); })")
    tab.keyboard.press("d")
    assert tab.locator("#unkept").is_visible()
    assert pd.read_csv(download(tab, tmp_path / "t.csv"))["decision"].tolist().count("drop") == 1


def test_what_another_program_kept_there_does_no_harm(visit: Callable[..., Any], mined: Mined) -> None:
    tab = visit(mined.page)
    for content in ("{", "null", '{"at": 9e9, "decided": {"0": "eat", "x": "keep"}, "undo": [[-1, ""]]}'):
        tab.evaluate("content => localStorage.setItem(scene.key, content)", content)
        tab.reload()
        assert text(tab, "#count").startswith("0 of")
        assert tab.locator("#work").is_visible()
    tab.keyboard.press("k")
    assert text(tab, "#count").startswith("1 of")


def test_two_thousand_patches_are_loaded_as_they_are_looked_at(visit: Callable[..., Any], tmp_path: Path) -> None:
    number, name = 2000, 'a,"b'
    rows = [[f"{name}{row}", "label_error", "0", "0.9", "2.3", "0"] for row in range(number)]
    similar = [SimilarPatch(f"s{at}", at % 2, 0.9, same_slide=True, same_pixels=at == 0) for at in range(5)]
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (96, 96)).save(tmp_path / "one.png")
    content = (tmp_path / "one.png").read_bytes()
    patches = []
    for row in range(number):
        picture, strip = f"pictures/patch-{row:05d}.png", f"pictures/similar-{row:05d}.jpg"
        patches.append(
            MinedPatch(row, str(rows[row][0]), "label_error", 0, "s", 2.3, 0.9, "it", "so", picture, strip, similar)
        )
        for path in (picture, strip):
            (tmp_path / path).write_bytes(content)
    facts = {"table": "mined.csv", "fingerprint": "f", "run": "r", "side_px": 96}
    weights = {"label_error": {"keep": 1.0, "flip": 1.0, "drop": 0.0}}
    columns = ("id", "kind", "label", "probability", "loss", "weight")
    (tmp_path / "review.html").write_bytes(review_page.render(facts, patches, columns, rows, weights))
    tab = visit(tmp_path / "review.html")
    tab.wait_for_function("document.querySelector('#picture').naturalWidth > 0")
    loaded = "[...document.querySelectorAll('#all img')].filter(one => one.naturalWidth).length"
    assert tab.evaluate("document.querySelectorAll('#all img').length") == number
    assert tab.evaluate(loaded) < number / 2
    tab.keyboard.press("k")
    tab.locator("#all button").last.click()
    tab.keyboard.press("f")
    assert "This is the last" not in text(tab, "#said")
    with download(tab, tmp_path / "d.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == number
    assert [(row["id"], row["label"], row["weight"], row["decision"]) for row in (table[0], table[1], table[-1])] == [
        (f"{name}0", "0", "1", "keep"),
        (f"{name}1", "0", "0", ""),
        (f"{name}{number - 1}", "1", "1", "flip"),
    ]
