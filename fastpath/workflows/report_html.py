"""From facts and pictures to one page that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

TEMPLATE = "inspect.html"


def render(facts: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Return the HTML page of an inspection; pictures are within it, and it fetches nothing.

    Args:
        facts: What `inspect.json` holds. Every text of it is escaped: ids and slides are whatever a table said.
        pictures: PNG files by name.
    """
    text = resources.files("fastpath.workflows").joinpath("templates", TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": _count, "share": _share, "triple": _triple}
    return environment.from_string(text).render(
        facts=facts, pictures={name: _embed(png) for name, png in pictures.items()}
    )


def _embed(png: bytes) -> dict[str, Any]:
    """Return what an <img> needs: a data URI, and the size, so that the page does not jump while it is decoded."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # the IHDR chunk comes first
    return {"uri": "data:image/png;base64," + base64.b64encode(png).decode("ascii"), "width": width, "height": height}


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"  # noqa: RUF001 (an en dash stands for no value)


def _triple(values: tuple[float, ...], digits: int = 4) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)
