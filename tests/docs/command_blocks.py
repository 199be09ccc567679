"""The fenced blocks of the documentation, and the commands in them.

Every fence has a tag: `sh` and `python` are run, `toml` is read as settings, `text` is only shown. What cannot be run
everywhere has a mark above its fence that no reader sees, for all of the block or for the lines that begin so:

    <!-- not run: minutes -->
    <!-- not run: internet (pip, kaggle competitions); several cards (torchrun) -->
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(path.name for path in ROOT.glob("*.md")),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]
TAGS = {"sh", "python", "toml", "text"}
REASONS = {"internet", "several cards", "docker", "conda", "kaggle", "minutes"}
"""Why a block may not run: it downloads or uploads, wants what most machines lack, or takes minutes by its nature."""

FENCED = re.compile(r"^ *```.*?^ *```", re.M | re.S)
"""A whole block, fences and all."""

_FENCE = re.compile(r" *```(.*)")
_MARK = re.compile(r"<!-- not run: (.+) -->")
_REASON = re.compile(r"([a-z ]+?)(?: \(([^()]+)\))?")


@dataclass(frozen=True, slots=True)
class Command:
    """A line of a shell block, joined with those that continue it.

    Attributes:
        place: Page and line.
        text: As it is printed.
        reason: Why it is not run; empty where it is.
    """

    place: str
    text: str
    reason: str = ""

    @property
    def words(self) -> list[str]:
        """What a shell makes of it, before it looks for files."""
        return shlex.split(self.text, comments=True)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page, from the root of the repository.
        line: Number of its fence.
        tag: What the fence says it holds.
        text: What it holds.
        marks: Why lines of it are not run, with how they begin; an empty beginning is that of every line.
    """

    page: str
    line: int
    tag: str
    text: str
    marks: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """Page and line of the fence."""
        return f"{self.page}:{self.line}"

    def commands(self) -> Iterator[Command]:
        """Yield the commands of a shell block."""
        begun, first = "", 0
        for number, line in enumerate(self.text.splitlines(), start=self.line + 1):
            first = first if begun else number
            begun += line
            if line.endswith("\\"):
                begun = begun[:-1]
            elif begun.strip() and not begun.startswith("#"):
                yield Command(f"{self.page}:{first}", begun, self._reason(begun))
                begun = ""
            else:
                begun = ""

    def _reason(self, text: str) -> str:
        return next((reason for reason, beginning in self.marks if text.startswith(beginning)), "")


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    fenced: list[Block] = []
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            continue
        if opened is None:
            opened, tag = number, fence[1]
            continue
        mark = _MARK.fullmatch(lines[opened - 1].strip())
        text = "\n".join(lines[opened + 1 : number]) + "\n"
        fenced.append(Block(page, opened + 1, tag, text, _marks(mark[1]) if mark else ()))
        opened = None
    return fenced


def _marks(text: str) -> tuple[tuple[str, str], ...]:
    marks: list[tuple[str, str]] = []
    for part in text.split("; "):
        reason = _REASON.fullmatch(part)
        assert reason is not None, f"<!-- not run: {text} --> is not of the form 'reason (words, words); reason'"
        marks += [(reason[1], beginning) for beginning in (reason[2] or "").split(", ")]
    return tuple(marks)


def marks_of(page: str) -> int:
    """Count the marks of a page, wherever they stand."""
    return (ROOT / page).read_text(encoding="utf-8").count("<!-- not run:")


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in BLOCKS if block.tag == "sh" for command in block.commands()]
