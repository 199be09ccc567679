"""Label and group tables: CSV files joined to patches on id, never on row order."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.sources.listing import Listing, check_ids
from fastpath.text import from_cell

Orphans = Literal["refuse", "own-group", "drop"]
GROUP_COLUMNS = ("wsi", "group", "slide")


def read_columns(path: Path, first: str, second: Sequence[str]) -> tuple[list[str], list[str]]:
    """Read two columns of a CSV.

    Args:
        path: A CSV with a header line, with or without a byte order mark.
        first: Name of the first column.
        second: Accepted names of the second column; the first of them that the header has is read.

    Raises:
        DataError: The file cannot be read, lacks a column, or a line has too few or too many values.
    """
    columns: tuple[list[str], list[str]] = ([], [])
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip() for name in next(lines, [])]
            value = next((name for name in second if name in header), None)
            if first not in header or value is None:
                problem = f"found columns {','.join(header)[:80]!r}, wanted '{first},{second[0]}'"
                raise DataError(path, problem, "name the columns in the first line")
            places = header.index(first), header.index(value)
            for cells in _rows(lines, len(header), path):
                for column, place in zip(columns, places, strict=True):
                    column.append(cells[place].strip())
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "give the path of a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is not CSV in UTF-8 ({error})", "save it as CSV in UTF-8") from None
    return columns


def _rows(lines: Iterator[list[str]], num_cells: int, path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV reader, blank lines aside."""
    for number, cells in enumerate(lines, start=2):
        if not cells:
            continue
        if len(cells) != num_cells:
            where = f"{path} line {number}"
            raise DataError(where, f"found {len(cells)} values, wanted {num_cells}", "correct that line")
        yield cells


def read_labels(path: Path) -> tuple[list[str], np.ndarray]:
    """Read `id,label`.

    Returns:
        Ids in the file's order, and their labels, int8 0 or 1.

    Raises:
        DataError: The table is not one, an id comes twice, or a label is not 0 or 1.
    """
    ids, texts = read_columns(path, "id", ["label"])
    for name, text in zip(ids, texts, strict=True):
        if text not in ("0", "1"):
            raise DataError(path, f"found label {text!r} of id '{name}', wanted 0 or 1", "correct that label")
    check_ids(ids, path)
    return ids, np.array([text == "1" for text in texts], dtype=np.int8)


def join_labels(path: Path, names: dict[str, str], folder: Path) -> tuple[list[str], np.ndarray]:
    """Read labels and prove that they and the files name the same patches.

    Args:
        path: The label table.
        names: Something of each id in the folder.
        folder: The folder, for messages.

    Raises:
        DataError: As `read_labels`; or an id has no file, or a file no label.
    """
    ids, labels_N = read_labels(path)
    unknown = [name for name in ids if name not in names]
    if unknown:
        problem = f"found {len(unknown)} ids without a file in {folder} (first: '{unknown[0]}'), wanted a file for each"
        raise DataError(path, problem, "restore the files or remove those lines")
    if len(ids) != len(names):  # ids are unique and all known, so only then are some missing
        labelled = set(ids)
        missing = [name for name in names if name not in labelled]
        problem = f"lacks {len(missing)} ids of files in {folder} (first: '{min(missing)}'), wanted a label for each"
        raise DataError(path, problem, "add those labels or move the files away")
    return ids, labels_N


def join_groups(listing: Listing, path: Path, orphans: Orphans) -> Listing:
    """Give each patch its slide.

    Args:
        listing: The patches.
        path: CSV of `id,wsi`; ids it has beyond the listing are passed over.
        orphans: What to do with patches the table does not name: refuse, let each be a group of its own, or
            leave them out.

    Raises:
        DataError: The table is not one, gives an id two groups, has an empty group, or lacks ids.
    """
    group_of: dict[str, str] = {}
    for name, group in zip(*read_columns(path, "id", GROUP_COLUMNS), strict=True):
        if not group:
            raise DataError(path, f"found no group for id '{name}'", "give it a group or remove the line")
        if group_of.setdefault(name, group) != group:
            problem = f"found id '{name}' in groups '{group_of[name]}' and '{group}', wanted one"
            raise DataError(path, problem, "keep one of the two lines")
    lost = [row for row, name in enumerate(listing.ids) if name not in group_of]
    if lost and orphans == "refuse":
        problem = f"lacks {len(lost)} of {len(listing)} ids (first: '{listing.ids[lost[0]]}'), wanted a group for each"
        raise DataError(path, problem, "add them, or use --orphans own-group or --orphans drop")
    if lost and orphans == "drop":
        gone = set(lost)
        listing = listing.take([row for row in range(len(listing)) if row not in gone])
    groups = [group_of.get(name, f"orphan-{name}") for name in listing.ids]
    return replace(listing, groups=groups)


def keep_only(listing: Listing, path: Path) -> Listing:
    """Keep the patches that a table with a column `id` names, in the source's order.

    Raises:
        DataError: The table is not one, or names an id that the source does not have.
    """
    known = set(listing.ids)
    # The table may be one that fastpath wrote, such as neighbours.csv, whose ids are no formulas.
    wanted = {name if name in known else from_cell(name) for name in read_columns(path, "id", ["id"])[0]}
    unknown = wanted - known
    if unknown or not wanted:
        problem = f"found {len(unknown)} ids that are not in the source (first: '{min(unknown, default='')}')"
        raise DataError(path, problem if wanted else "found no ids", "correct those lines")
    return listing.take([row for row, name in enumerate(listing.ids) if name in wanted])
