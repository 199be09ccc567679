"""The review page holds what it is given: as text, and as the table that comes back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fastpath.figures import review_page
from fastpath.figures.review_page import MinedPatch, SimilarPatch

FACTS = {"table": "mined.parquet", "fingerprint": "0123456789abcdef", "run": "folds", "side_px": 96}
COLUMNS = ("id", "kind", "label", "weight")
WEIGHTS = {"label_error": {"keep": 1.0, "flip": 1.0, "drop": 0.0}}
EVIL = "</script><b>&"


def mined(row: int, kind: str = "label_error", name: str = "a") -> MinedPatch:
    similar = [SimilarPatch("b", 0, 0.9, same_slide=None, same_pixels=False)]
    picture, strip = f"pictures/patch-{row:05d}.png", f"pictures/similar-{row:05d}.jpg"
    return MinedPatch(row, name, kind, 1, None, 2.5, 0.08, "a network", "it is hard", picture, strip, similar)


def render(patches: list[MinedPatch], rows: list[list[object]], **more: Any) -> str:
    return review_page.render(FACTS, patches, COLUMNS, rows, WEIGHTS, **more).decode()


def scene_of(page: str) -> dict[str, Any]:
    match = re.search(r"const scene = (\{.*\});\n", page)
    assert match is not None
    scene: dict[str, Any] = json.loads(match[1])
    return scene


def test_the_whole_table_is_in_the_page_and_some_of_it_is_shown() -> None:
    page = render([mined(1)], [["x", "hard_negative", 0, "2"], ["a", "label_error", 1, "0"]])
    scene = scene_of(page)
    assert scene["rows"] == [["x", "hard_negative", "0", "2"], ["a", "label_error", "1", "0"]]
    assert [patch["row"] for patch in scene["patches"]] == [1]
    assert (scene["file"], scene["key"]) == ("mined-reviewed.csv", "fastpath-review:0123456789abcdef")
    assert "The table has 2 rows" in page
    assert "The table has" not in render([mined(0)], [["a", "label_error", 1, "0"]])


def test_kinds_that_are_there_can_be_filtered_by() -> None:
    page = render([mined(0), mined(1, "hard_positive"), mined(2)], [["a", "", 1, "0"]] * 3)
    options = re.findall(r'<option value="(\w*)">([^<]*)<', page)
    assert options == [("", "all, 3"), ("label_error", "likely label error, 2"), ("hard_positive", "hard tumour, 1")]


def test_a_name_is_text_and_no_formula() -> None:
    page = render([mined(0, name=EVIL)], [[EVIL, "label_error", 1, "0"], ["=1+1", "label_error", 1, "0"]])
    assert EVIL not in page
    assert [row[0] for row in scene_of(page)["rows"]] == [EVIL, "'=1+1"]


@pytest.mark.parametrize("notices", [(), ("look <here>",)])
def test_notices_are_told(notices: tuple[str, ...]) -> None:
    page = render([], [], notices=notices)
    assert ("look &lt;here&gt;" in page) == bool(notices)
    assert "Nothing was mined" in page
