"""From facts and pictures to one page that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import jinja2

from fastpath.figures import style
from fastpath.figures.imprint import written


def render(
    facts: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    template: str = "inspect.html",
    **more: Any,  # noqa: ANN401 (whatever the template asks for)
) -> str:
    """Return the HTML page of an inspection or an evaluation; pictures are within it, and it fetches nothing.

    Args:
        facts: What the JSON beside it holds. Every text is escaped: ids and slides are whatever a table said.
        pictures: PNG files by name.
        template: The page's template.
        more: What else the template shows.
    """
    return (
        environment()
        .get_template(template)
        .render(
            facts=facts,
            written=written(),
            colours=style.PAGE,
            pictures={name: embed(png) for name, png in pictures.items()},
            **more,
        )
    )


def environment() -> jinja2.Environment:
    """Return where pages are rendered: their templates, and the filters that write numbers."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("fastpath.figures"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": _count, "share": _share, "triple": _triple, "number": _number, "percent": percent}
    return made


def embed(png: bytes) -> dict[str, Any]:
    """Return what an <img> needs: a data URI, and the size, so that the page does not jump while it is decoded."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # the IHDR chunk comes first
    return {"uri": "data:image/png;base64," + base64.b64encode(png).decode("ascii"), "width": width, "height": height}


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"  # noqa: RUF001 (an en dash stands for no value)


def percent(value: float | None, num: int) -> str:
    """Return a share of `num` patches as a percentage, with no digit that fewer than 1,000 patches could not tell.

    A share of n patches has a standard error of up to 50 / sqrt(n) per cent: whole per cents below 1,000 patches, a
    tenth below 100,000, a hundredth from there on. What is not all or nothing is not rounded to it.
    """
    if value is None:
        return "–"  # noqa: RUF001 (an en dash stands for no value)
    digits = 0 if num < 1_000 else 1 if num < 100_000 else 2
    least = 10.0**-digits
    if 0.0 < value * 100 < least:
        return f"<{least:.{digits}f}%"
    if 100 - least < value * 100 < 100.0:
        return f">{100 - least:.{digits}f}%"
    return f"{value:.{digits}%}"


def _triple(values: tuple[float, ...], digits: int = 4) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 (an en dash stands for no value)
