"""Names say what they hold: words that may mean anything are names of nothing, in the package or beside it.

`docs/glossary.md` has the words that are used instead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("fastpath", "tests", "benchmarks", "tools", "examples")

VAGUE = frozenset(
    {
        *("found", "told", "said", "says", "tells", "heard", "judged", "spoilt", "lent", "lenders"),
        *("one", "where", "which", "whose", "how", "kin", "thing", "things", "opinion", "course"),
    }
)
"""Participles, pronouns and a private dialect: what is so called is a message, a path, a row, options, or stages."""

PUBLIC = {("fastpath/workflows/doctor.py", "found")}
"""Keys of outputs that programs read: the findings of `doctor --json` are `found` and `wanted`."""


def given(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that a file gives to values, parameters, attributes, functions and classes, and their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno


def vague(source: str) -> list[tuple[str, int]]:
    """Return the vague names of a file's text, and their lines."""
    return [(name, line) for name, line in given(ast.parse(source)) if name.strip("_").lower() in VAGUE]


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_say_what_they_hold(folder: str) -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: '{name}' says nothing of what it holds"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name, line in vague(path.read_text(encoding="utf-8"))
        if (path.relative_to(ROOT).as_posix(), name) not in PUBLIC
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "[one for one in range(3)]",
        "for told, row in rows: pass",
        "def run(where): pass",
        "def run(*, which=1): pass",
        "lambda **told: told",
        "def _told(): pass",
        "class Opinion: found_N: int = 0",
        "self._found = {}",
        "import numpy as found",
        "with file as lent: pass",
        "if (found := 1): pass",
        "TOLD = ()",
    ],
)
def test_a_vague_name_is_seen(source: str) -> None:
    assert len(vague(source)) == 1


def test_a_word_in_a_longer_name_a_call_or_a_text_is_none() -> None:
    assert vague("num_found, one_epoch = np.where(rows), 'told'  # which") == []
