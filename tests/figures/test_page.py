"""Pages say no more than their numbers can tell."""

from __future__ import annotations

import pytest

from fastpath.figures import imprint, page


@pytest.mark.parametrize(
    ("value", "num", "text"),
    [
        (None, 10, "–"),  # noqa: RUF001 (an en dash stands for no value)
        (0.5, 10, "50%"),
        (0.98387, 124, "98%"),
        (0.98387, 1_240, "98.4%"),
        (0.98387, 124_000, "98.39%"),
        (0.0, 124, "0%"),
        (1.0, 124, "100%"),
        (0.996, 250, ">99%"),
        (0.004, 250, "<1%"),
        (0.9996, 2_500, ">99.9%"),
        (0.0004, 2_500, "<0.1%"),
    ],
)
def test_a_percentage_has_the_digits_that_its_patches_allow(value: float | None, num: int, text: str) -> None:
    assert page.percent(value, num) == text


def test_a_page_bears_the_day_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert imprint.written().endswith(", 1970-01-02")
