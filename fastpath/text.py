"""How text that is not ours (paths, ids, names, errors of others) is shown, pasted into a shell and put in a CSV."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

# What a spreadsheet takes for the start of a formula, their full-width forms, and what it drops before looking.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def visible(text: object) -> str:
    r"""Return one line in which every character can be seen, the others escaped as Python does (`\n`, `\x1b`).

    So no terminal escape, line break or change of writing direction in a file's name is obeyed. Bytes of a name that
    is not UTF-8 are shown as `\xff`.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text))


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def brief(error: BaseException, most: int) -> str:
    """Return what an error says as one line of at most so many characters; its kind where it says nothing."""
    return " ".join(str(error)[: 10 * most].split())[:most] or type(error).__name__


def command_line(*words: object) -> str:
    """Return a command to be pasted into a shell: a word of the user's is that word again, whatever it holds.

    A path that begins with a dash would be an option, so it is given as one of the directory at hand. Where it stands
    in a sentence nothing may be put around it: quotes around a quoted word would end its quotes.
    """
    return shlex.join(
        f"./{word}" if isinstance(word, PurePath) and str(word).startswith("-") else str(word) for word in words
    )


def to_cell(value: object) -> object:
    """Return what to write into a CSV that people open in a spreadsheet: no text is a formula there.

    As OWASP advises on CSV injection, an apostrophe goes before a text that begins like a formula; also before one that
    begins with apostrophes and then like a formula, so that `from_cell` returns every text as it was. Numbers, also
    those already written as text, stay as they are.
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value) or not _FORMULA.match(value):
        return value
    return f"'{value}"


def from_cell(text: str) -> str:
    """Return the text that `to_cell` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a table as CSV in UTF-8, its cells made by `to_cell`."""
    table = io.StringIO(newline="")
    plain = csv.writer(table, lineterminator="\n")
    quoted = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (columns, *rows):
        cells = [to_cell(value) for value in row]
        # Before Python 3.13 a carriage return alone is not quoted, and read back as the end of a line.
        (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)
    return table.getvalue().encode()
