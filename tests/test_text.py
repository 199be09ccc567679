"""What is the user's stays text: in a terminal, in a shell, in a spreadsheet."""

from __future__ import annotations

import ast
import csv
import io
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastpath
from fastpath.errors import FastpathError, StoreError
from fastpath.store.split_table import read_split
from fastpath.text import command_line, from_cell, to_cell, to_csv, visible

ROOT = Path(fastpath.__file__).parent
ODD = [
    "a[/b]",
    "[red]x",
    "\x1b[31m",
    "a\nb",
    "a\rb",
    "\x00",
    "a b",
    "it's",
    '"',
    "$(touch x)",
    "`id`",
    "a;b",
    "-o",
    "~",
]
FORMULAS = ["=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", "\r=1", "\n=1", "'=1", "''@x", "\uff1d1", '=cmd|" /C calc"!A0']


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("line\u2028end", "line\\u2028end"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("Gewebe-Ä 組織.tif", "Gewebe-Ä 組織.tif"),
    ],
)
def test_what_cannot_be_seen_is_shown_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_whatever_is_shown_is_one_line_that_a_terminal_prints(text: str) -> None:
    assert visible(text).isprintable()
    assert len(visible(text).splitlines()) <= 1


@pytest.mark.parametrize("name", ODD)
def test_an_error_is_one_line_whatever_the_file_is_called(name: str) -> None:
    message = str(FastpathError(Path("/data") / name, f"found '{name}'", f"see {name}"))
    assert message.isprintable()


@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), min_size=1))
def test_a_command_pasted_has_the_very_words(words: list[str]) -> None:
    assert shlex.split(command_line("fastpath", *words)) == ["fastpath", *words]


def test_a_shell_runs_nothing_of_a_word(tmp_path: Path) -> None:
    pasted = command_line("printf", "%s", "$(touch ran)", "`touch ran`", "';touch ran;'", "\ntouch ran")
    done = subprocess.run(["sh", "-c", pasted], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "$(touch ran)`touch ran`';touch ran;'\ntouch ran"
    assert not list(tmp_path.iterdir())


def test_a_suggested_command_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "it's $(touch ran) [" / "b]"
    path.mkdir(parents=True)
    store: Any = SimpleNamespace(path=path, address=path, remote=None, split_file=None, split_path=path / "split.json")
    with pytest.raises(StoreError) as refused:
        read_split(store)
    _, _, pasted = str(refused.value).partition("run: ")
    assert shlex.split(pasted) == ["fastpath", "split", str(path)]


def test_no_command_is_put_together_by_hand() -> None:
    """A value that follows a command of fastpath in an f-string would be pasted as it stands."""
    commands = "|".join(path.stem for path in (ROOT / "cli" / "commands").glob("[a-z]*.py"))
    lines = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ""
            for part in node.values if isinstance(node, ast.JoinedStr) else ():
                if isinstance(part, ast.Constant):
                    text += str(part.value)
                elif re.search(rf"fastpath ({commands})\b[^']*$", text):
                    lines.append(f"{path.name}:{node.lineno}")
    assert not lines, "use command_line"


def test_a_path_is_no_option() -> None:
    assert command_line("fastpath", "split", Path("-x")) == "fastpath split ./-x"


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_like_a_formula_is_none(text: str) -> None:
    assert to_cell(text) == f"'{text}"
    assert from_cell(f"'{text}") == text


@pytest.mark.parametrize("value", ["-0.5", "+1e-9", "-.5", "-1", -0.5, 3, None, "abc", "'quoted'", "a=b", ""])
def test_numbers_and_plain_texts_stay(value: object) -> None:
    assert to_cell(value) == value


@given(st.lists(st.one_of(st.text(), st.sampled_from(FORMULAS)), min_size=2, max_size=2))
def test_what_is_written_is_read_back(texts: list[str]) -> None:
    if any(0xD800 <= ord(letter) <= 0xDFFF or letter == "\x00" for letter in "".join(texts)):
        return
    table = to_csv(("id", "label"), [texts])
    _, row = csv.reader(io.StringIO(table.decode(), newline=""))
    assert [from_cell(cell) for cell in row] == texts
    assert all(not cell or cell[0] not in "=+-@\t\r\n" or to_cell(cell) == cell for cell in row)
