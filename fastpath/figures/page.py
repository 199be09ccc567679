"""From facts and pictures to one page that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import jinja2


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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fastpath.figures"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "share": _share, "triple": _triple, "number": _number}
    return environment.get_template(template).render(
        facts=facts, pictures={name: embed(png) for name, png in pictures.items()}, **more
    )


def embed(png: bytes) -> dict[str, Any]:
    """Return what an <img> needs: a data URI, and the size, so that the page does not jump while it is decoded."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # the IHDR chunk comes first
    return {"uri": "data:image/png;base64," + base64.b64encode(png).decode("ascii"), "width": width, "height": height}


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"  # noqa: RUF001 (an en dash stands for no value)


def _triple(values: tuple[float, ...], digits: int = 4) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 (an en dash stands for no value)
