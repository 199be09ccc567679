"""Links within the repository lead somewhere: to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_blocks import FENCED, PAGES, ROOT

_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?\s*\)")


def anchors(page: Path) -> set[str]:
    """Return what headings are called in links, by GitHub's rule; a site of mkdocs is looked at by `make docs`."""
    names: set[str] = set()
    for heading in re.findall(r"^#+ (.+?)\s*$", FENCED.sub("", page.read_text(encoding="utf-8")), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        number = sum(1 for other in names if re.fullmatch(rf"{re.escape(name)}(-\d+)?", other))
        names.add(f"{name}-{number}" if number else name)
    return names


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"`[^`]*`", "", FENCED.sub("", (ROOT / page).read_text(encoding="utf-8")))
    dead = []
    for link in _LINK.findall(text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = ((ROOT / page).parent / path if path else ROOT / page).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            dead.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target):
            dead.append(f"{link}: no such heading")
    assert dead == []


def test_headings_of_one_name_are_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What `x` is, and why\n\n```sh\n# no heading\n```\n## [The](y.md) rest\n## The rest\n")
    assert anchors(page) == {"what-x-is-and-why", "the-rest", "the-rest-1"}
