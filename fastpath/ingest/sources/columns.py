"""Columns of tables as people have them: CSV by any separator, UTF-8 or UTF-16, compressed or not, or Parquet."""

from __future__ import annotations

import array
import contextlib
import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastpath.errors import DataError
from fastpath.ingest.sources.opened import is_parquet, text_lines
from fastpath.system import arrow_files
from fastpath.system.files import open_regular
from fastpath.text import brief

SEPARATORS = (",", ";", "\t")
SHOWN = 80  # characters of a header in a message


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of a table, all of one length.

    Attributes:
        path: The table.
        header: The names of all its columns.
        cells: Of each column that was asked for and is there: a text a row, empty where there is nothing.
        lines: The line of the file that each row ends on; of Parquet, the number of the row from 1.
    """

    path: Path
    header: Sequence[str]
    cells: dict[str, list[str]]
    lines: Sequence[int]

    def location_of(self, row: int) -> str:
        """Name a row for a message."""
        return f"{self.path} {'row' if is_parquet(self.path) else 'line'} {self.lines[row]}"

    def first_of(self, names: Sequence[str]) -> list[str] | None:
        """Return the first of these columns that was read; None where there is none."""
        return next((self.cells[name] for name in names if name in self.cells), None)


def read_columns(path: Path, names: Sequence[str], *, needed: Sequence[Sequence[str]] = ()) -> Columns:
    """Read those columns of a table that have one of these names, whatever its letters' case.

    A CSV's columns are told by its first line and may be separated by commas, semicolons or tabs. It is in UTF-8, or
    in UTF-16 where a byte order mark says so, and may be compressed by gzip, bzip2 or xz, or be all that a zip holds.

    Args:
        path: The table.
        names: The columns to read.
        needed: Of each of these alternatives one must be there.

    Raises:
        DataError: The file cannot be read as a table, lacks a column, has one twice, or a line has too few or too many
            values.
    """
    return _parquet(path, names, needed) if is_parquet(path) else _csv(path, names, needed)


def header_of(path: Path) -> list[str]:
    """Return the names of a table's columns, or what stands in the first line of one without names.

    Raises:
        DataError: It cannot be read as a table.
    """
    if is_parquet(path):
        with _opened(path) as file:
            names: list[str] = file.schema_arrow.names
        return names
    with contextlib.closing(text_lines(path)) as lines:
        first = next(lines, "")
    return _header(first, max(SEPARATORS, key=lambda mark: len(_header(first, mark))))


def _csv(path: Path, names: Sequence[str], needed: Sequence[Sequence[str]]) -> Columns:
    try:
        return _rows_of(path, names, needed)
    except csv.Error as error:
        raise DataError(path, f"is not CSV ({error})", "save it as CSV in UTF-8") from None


def _rows_of(path: Path, names: Sequence[str], needed: Sequence[Sequence[str]]) -> Columns:
    with contextlib.closing(text_lines(path)) as lines:
        first = next(lines, "")
        headers = {mark: _header(first, mark) for mark in SEPARATORS}
        separator = max(headers, key=lambda mark: (len(_places(headers[mark], names, path)), len(headers[mark])))
        header = headers[separator]
        places = _places(header, names, path)
        _check(path, header, places, needed)
        rows = csv.reader(itertools.chain([first], lines), delimiter=separator, strict=True)
        next(rows)
        cells: dict[str, list[str]] = {name: [] for name in places}
        columns = [(cells[name], place) for name, place in places.items()]
        numbers = array.array("q")
        for row in _whole_rows(rows, len(header), path):
            for column, place in columns:
                column.append(row[place].strip())
            numbers.append(rows.line_num)
    return Columns(path, header, cells, numbers)


def _header(line: str, separator: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=separator), [])  # strict only once it is known what separates
    return [cell.strip() for cell in cells]


def _whole_rows(rows: Any, num_cells: int, path: Path) -> Iterator[list[str]]:  # noqa: ANN401 (a csv.reader)
    """Yield the rows of a CSV reader, blank lines aside."""
    for row in rows:
        if len(row) != num_cells:
            if not row or not any(map(str.strip, row)):
                continue
            location = f"{path} line {rows.line_num}"
            raise DataError(location, f"found {len(row)} values, wanted {num_cells}", "correct that line")
        yield row


def _places(header: Sequence[str], names: Sequence[str], path: Path) -> dict[str, int]:
    """Return where each wanted column stands: by its very name, else by its name in another case."""
    folded = [name.casefold() for name in header]
    places = {}
    for name in names:
        exact = [at for at, at_columns in enumerate(header) if at_columns == name]
        columns_of_name = exact or [at for at, other in enumerate(folded) if other == name.casefold()]
        if len(columns_of_name) > 1:
            problem = f"found {len(columns_of_name)} columns '{header[columns_of_name[0]]}', wanted one"
            raise DataError(path, problem, "rename or remove the others")
        if columns_of_name:
            places[name] = columns_of_name[0]
    return places


def _check(path: Path, header: Sequence[str], columns: dict[str, Any], needed: Sequence[Sequence[str]]) -> None:
    """Refuse a table without a column that is needed, and say what the first line looks like."""
    if all(any(name in columns for name in names) for names in needed):
        return
    wanted = ",".join(names[0] for names in needed)
    text = ",".join(header)[:SHOWN]
    if not any(header):
        raise DataError(path, f"found nothing in its first line, wanted '{wanted}'", "give a table with these columns")
    if any(cell in ("0", "1", "0.0", "1.0") for cell in header):  # what names no column anywhere, and every label
        remedy = f"write '{wanted}' as the first line: it seems to have no header"
        raise DataError(path, f"found columns {text!r}, wanted '{wanted}'", remedy)
    raise DataError(path, f"found columns {text!r}, wanted '{wanted}'", "name the columns in the first line")


def _parquet(path: Path, names: Sequence[str], needed: Sequence[Sequence[str]]) -> Columns:
    """Read wanted columns alone: what the others hold, such as embeddings, need not be text."""
    with _opened(path) as file:
        header = file.schema_arrow.names
        places = _places(header, names, path)
        _check(path, header, places, needed)
        table = file.read(columns=[header[place] for place in places.values()])
        columns = {name: _texts(path, table[header[place]]) for name, place in places.items()}
    return Columns(path, header, columns, range(1, table.num_rows + 1))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file; what Arrow raises about it until it is closed becomes one line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(path, follow=True, kind=DataError) as content, arrow_files.of_file(content) as native:
            yield pq.ParquetFile(native)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(path, f"cannot be read as Parquet ({brief(error, 200)})", "write it again") from None


def _texts(path: Path, column: Any) -> list[str]:  # noqa: ANN401 (a pyarrow.ChunkedArray)
    """Return a column as text: whole numbers as such even where they are kept as floats, true as 1, null as nothing."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kinds.is_nested(column.type):
        problem = f"found a column of type {column.type}, wanted text or numbers"
        raise DataError(path, problem, "write ids, labels and paths as plain columns")
    if kinds.is_boolean(column.type):
        column = column.cast(pa.int8())
    if kinds.is_floating(column.type):
        with contextlib.suppress(pa.ArrowInvalid):  # not whole: refused as a label, and named as it is
            column = column.cast(pa.int64())
    return ["" if value is None else value.strip() for value in column.cast(pa.string()).to_pylist()]
