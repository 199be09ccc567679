"""Tables opened as text, whatever they are compressed with and encoded in; bounded, and regular files only."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from fastpath.errors import DataError
from fastpath.system.files import open_regular
from fastpath.system.litter import is_litter

SUFFIXES = (".csv", ".tsv", ".txt")
COMPRESSED = (".gz", ".zip", ".bz2", ".xz")
MAX_LINE_CHARS = 1 << 20  # a line is an id, a label and a few values more
MAX_UNPACKED_CHARS = 1 << 28  # of a compressed table: 5 million patches; more, and a bomb, must be unpacked by hand

_READERS: dict[bytes, Callable[[BinaryIO], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)


def is_parquet(path: Path) -> bool:
    """Return whether a table is Parquet, by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


def is_table(name: str) -> bool:
    """Return whether a file's name is that of a table that `columns.read_columns` can read."""
    path = PurePosixPath(name.lower())
    stem = PurePosixPath(path.stem) if path.suffix in COMPRESSED else path
    return stem.suffix in SUFFIXES or path.suffix in (".parquet", ".pq")


def text_lines(path: Path) -> Generator[str, None, None]:
    """Yield the lines of a table with their ends.

    Raises:
        DataError: It is no regular file, is damaged, is not text in UTF-8 or UTF-16, or is a bomb.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_regular(path, follow=True, kind=DataError))
            content, packed = _unpacked(path, file, stack)
            head = content.peek(4)[:4]
            encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            text = stack.enter_context(io.TextIOWrapper(content, encoding, newline=""))
            yield from _lines(path, text, packed)
    except UnicodeDecodeError:
        raise DataError(path, f"is not CSV in UTF-8{_first_undecodable(path)}", "save it as CSV in UTF-8") from None
    except _DAMAGED as error:
        raise DataError(path, f"cannot be unpacked ({error})", "unpack it, and give what was in it") from None
    except OSError as error:
        reason = error.strerror or error  # gzip's have no number
        raise DataError(path, f"cannot be read ({reason})", "give the path of a CSV file") from None


def _unpacked(path: Path, file: BinaryIO, stack: contextlib.ExitStack) -> tuple[io.BufferedReader, bool]:
    """Return a table's bytes, unpacked where they are packed, and whether they were."""
    head = cast(io.BufferedReader, file).peek(8)[:8]
    for magic, opener in _READERS.items():
        if head.startswith(magic):
            return io.BufferedReader(stack.enter_context(opener(file))), True
    if not head.startswith(b"PK\3\4"):
        return cast(io.BufferedReader, file), False
    archive = stack.enter_context(zipfile.ZipFile(file))
    names = [name for name in archive.namelist() if not name.endswith("/") and not _in_litter(name)]
    if "[Content_Types].xml" in names or "content.xml" in names:
        raise DataError(path, "is a workbook of a spreadsheet, wanted CSV", "save it as CSV in UTF-8")
    if len(names) != 1:
        problem = f"found {len(names)} files in this zip, wanted one table"
        raise DataError(path, problem, "unpack it, and give the table")
    return io.BufferedReader(cast(io.RawIOBase, stack.enter_context(archive.open(names[0])))), True


def _in_litter(name: str) -> bool:
    return any(map(is_litter, name.split("/")))


def _lines(path: Path, text: io.TextIOWrapper, packed: bool) -> Iterator[str]:
    num_chars = 0
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE_CHARS), ""), start=1):
        num_chars += len(line)
        if len(line) >= MAX_LINE_CHARS or (packed and num_chars > MAX_UNPACKED_CHARS):
            what = f"a line of {MAX_LINE_CHARS}" if len(line) >= MAX_LINE_CHARS else f"{MAX_UNPACKED_CHARS} unpacked"
            problem = f"found {what} characters or more, wanted a table"
            raise DataError(f"{path} line {number}", problem, "unpack it first, or give a table")
        if number == 1 and "\0" in line:
            raise DataError(path, "is not CSV in UTF-8: found zero bytes in line 1", "save it as CSV in UTF-8")
        yield line


def _first_undecodable(path: Path) -> str:
    """Name the first line that is not UTF-8, where the file is plain."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_CHARS), b""), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f" (line {number}, byte {error.object[error.start]:#04x})"
    return ""
