"""The evaluation's page as a browser shows it: the slider says what metrics.json says, on a screen and a telephone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastpath.analysis.operating_points import predictive_values
from fastpath.figures.page import percent

pytestmark = pytest.mark.e2e


@pytest.fixture(params=[1280, 390])
def page(browser: Any, evaluated: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": request.param, "height": 900})
    complaints: list[str] = []
    requested: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requested.append(request.url))
    opened.goto((evaluated / "report.html").as_uri())
    yield opened
    assert complaints == []
    assert [url for url in requested if not url.startswith("data:")] == [(evaluated / "report.html").as_uri()]
    opened.close()


def _text_of(page: Any, name: str) -> str:
    return str(page.locator(f"#{name}").inner_text())


def _size(name: str, counts: dict[str, int]) -> int:
    """Return how many patches a share is of."""
    columns = {
        "sensitivity": ("true_positive", "false_negative"),
        "specificity": ("true_negative", "false_positive"),
        "ppv": ("true_positive", "false_positive"),
        "npv": ("true_negative", "false_negative"),
    }
    return sum(counts[column] for column in columns[name])


def test_slides_are_sorted_by_their_headings(page: Any, evaluated: Path) -> None:
    slides = json.loads((evaluated / "metrics.json").read_text())["slides"]
    assert len({slide["error_share"] for slide in slides}) > 1

    def shown(column: int) -> list[str]:
        return [str(row.locator("td").nth(column).inner_text()) for row in page.locator(".sortable tbody tr").all()]

    worst = [slide["slide"] for slide in sorted(slides, key=lambda slide: -slide["error_share"])]
    assert shown(0)[0] == worst[0]
    for column, key in ((0, "slide"), (2, "num_patches"), (6, "false_positive")):
        for reverse in (True, False):
            page.locator(".sortable th button").nth(column).click()
            values = shown(column) if column == 0 else [int(text.replace(",", "")) for text in shown(column)]
            assert values == sorted((slide[key] for slide in slides), reverse=reverse)


def test_the_slider_says_what_metrics_json_says(page: Any, evaluated: Path) -> None:
    facts = json.loads((evaluated / "metrics.json").read_text())
    for point in facts["operating_points"]:
        page.get_by_role("button", name=point["name"], exact=True).click()
        counts = point["confusion"]
        for short, name in (("tp", "true_positive"), ("fp", "false_positive"), ("tn", "true_negative")):
            assert _text_of(page, short) == str(counts[name]), point["name"]
        assert _text_of(page, "fn") == str(counts["false_negative"])
        assert _text_of(page, "at") == f"{point['probability']:.4f}"
        for name in ("sensitivity", "specificity", "ppv", "npv"):
            assert _text_of(page, name) == percent(point[name]["value"], _size(name, counts)), (point["name"], name)
        for name in ("ppv", "npv"):
            value = point[f"{name}_at_prevalence"]
            assert _text_of(page, f"{name}_there") == percent(value, facts["parts"]["held"]["num_patches"])


@pytest.mark.parametrize(
    ("typed", "taken", "word"),
    [
        ("2", 0.02, ""),
        ("100", 1.0, ""),
        ("250", 1.0, "250% is no share of patches: 100% is taken."),
        ("-1", 0.0, "-1% is no share of patches: 0% is taken."),
        ("", None, "Give a percentage from 0 to 100."),
    ],
)
def test_a_prevalence_is_a_percentage(page: Any, evaluated: Path, typed: str, taken: float | None, word: str) -> None:
    facts = json.loads((evaluated / "metrics.json").read_text())
    point, num = facts["operating_points"][0], facts["parts"]["held"]["num_patches"]
    page.locator("#prevalence").fill(typed)
    assert _text_of(page, "prevalence_word") == word
    values = ("–", "–")  # noqa: RUF001
    if taken is not None:
        predictive = predictive_values(point["sensitivity"]["value"], point["specificity"]["value"], taken)
        values = tuple(percent(value, num) for value in predictive)
    assert (_text_of(page, "ppv_there"), _text_of(page, "npv_there")) == values


def test_the_slider_moves_by_keyboard_and_counts_every_patch(page: Any, evaluated: Path) -> None:
    facts = json.loads((evaluated / "metrics.json").read_text())
    slider = page.locator("#threshold")
    slider.focus()
    for key in ("Home", "ArrowRight", "End", "ArrowLeft"):
        slider.press(key)
        counts = [int(_text_of(page, name)) for name in ("tp", "fp", "tn", "fn")]
        assert sum(counts) == facts["parts"]["held"]["num_patches"]
        stop = facts["slider"][int(slider.input_value())]
        assert [int(_text_of(page, name)) for name in ("tp", "fp")] == stop[1:]


def test_a_patch_is_shown_four_times_as_large(page: Any) -> None:
    page.locator(".card .seen").first.click()
    box = page.locator("#zoom img").first.bounding_box()
    assert box["width"] == pytest.approx(min(384, page.viewport_size["width"] - 44), abs=12)
    assert page.locator("#zoom .seen i").first.is_visible()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#zoom").is_visible()
