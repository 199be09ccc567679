"""Label and group tables: joined to patches on id, never on row order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.sources.columns import Columns, read_columns
from fastpath.ingest.sources.listing import Listing, check_ids
from fastpath.ingest.sources.mending import mend, suggestion
from fastpath.text import from_cell

Orphans = Literal["refuse", "own-group", "drop"]
GROUP_COLUMNS = ("wsi", "group", "slide")
SITE_COLUMNS = ("site", "center", "centre")
NO_SITE = "unknown"


def read_labels(path: Path) -> tuple[Columns, np.ndarray]:
    """Read `id,label`; whether the ids are fit to be ids is left to who joins them.

    Returns:
        The table, and its labels, int8 0 or 1.

    Raises:
        DataError: The table is not one, or a label is not 0 or 1.
    """
    table = read_columns(path, ["id", "label"], needed=[["id"], ["label"]])
    ids, texts = table.cells["id"], table.cells["label"]
    for row, text in enumerate(texts):
        if text not in ("0", "1"):
            problem = f"found label {text[:40]!r} of id {ids[row]!r}, wanted 0 or 1"
            raise DataError(table.location_of(row), problem, label_remedy(text))
    return table, np.array([text == "1" for text in texts], dtype=np.int8)


def is_nothing(text: str) -> bool:
    """Return whether a cell holds nothing, or what programs write for nothing: as a group it would join strangers."""
    return not text or text.casefold() in ("nan", "none", "null", "<na>")


def label_remedy(text: str) -> str:
    """Say what to do about a label that is not 0 or 1."""
    if is_nothing(text) or text.casefold() == "na":
        return "give it a label, or remove that line and move its file away"
    if text.casefold() in ("0.0", "1.0", "true", "false"):
        return "save labels as the whole numbers 0 and 1"
    return "correct that label: 1 where the centre holds tumour, 0 where not"


def join_labels(path: Path, names: dict[str, str], folder: Path) -> tuple[list[str], np.ndarray]:
    """Read labels and prove that they and the files name the same patches.

    Args:
        path: The label table.
        names: Something of each id in the folder.
        folder: The folder, for messages.

    Raises:
        DataError: As `read_labels`; or an id is none, comes twice or has no file, or a file has no label.
    """
    table, labels_N = read_labels(path)
    ids = table.cells["id"]
    unknown = [row for row, name in enumerate(ids) if name not in names]
    if not unknown or not mend([ids[row] for row in unknown], names):
        _check_once(table, labels_N)  # before what is missing: "../x" is no id, whether or not there is such a file
    if unknown:
        lost = [ids[row] for row in unknown]
        known = set(ids)
        mended = suggestion(lost, (name for name in names if name not in known))
        description = f"found {len(lost)} ids without a file in {folder} (first: {lost[0]!r})"
        remedy = "write ids as the files are named" if mended else "restore the files or remove those lines"
        raise DataError(table.location_of(unknown[0]), f"{description}, wanted a file for each{mended}", remedy)
    if len(ids) != len(names):  # ids are unique and all known, so only then are some missing
        labelled = set(ids)
        missing = [name for name in names if name not in labelled]
        problem = f"lacks {len(missing)} ids of files in {folder} (first: '{min(missing)}'), wanted a label for each"
        raise DataError(path, problem, "add those labels or move the files away")
    return ids, labels_N


def _check_once(table: Columns, labels_N: np.ndarray) -> None:
    """Refuse ids that are none or come twice, and say of the latter where their labels differ."""
    ids = table.cells["id"]
    try:
        check_ids(ids, table.path, table.location_of)
    except DataError:
        first: dict[str, int] = {}
        for row, name in enumerate(ids):
            before = first.setdefault(name, row)
            if name and labels_N[before] != labels_N[row]:
                description = f"found id {name!r} with label {labels_N[row]}, and with {labels_N[before]} before"
                problem = f"{description} (line {table.lines[before]}), wanted each id once"
                raise DataError(
                    table.location_of(row), problem, "find out which is right, and remove the other"
                ) from None
        raise


def join_groups(listing: Listing, path: Path, orphans: Orphans) -> Listing:
    """Give each patch its slide, and its site where the table has a column for it.

    Args:
        listing: The patches.
        path: CSV of `id,wsi`, optionally `site`; ids it has beyond the listing are passed over.
        orphans: What to do with patches the table does not name: refuse, let each be a group of its own at the site
            `unknown`, or leave them out.

    Raises:
        DataError: The table is not one, gives an id two groups or sites, has an empty one, or lacks ids.
    """
    table = read_columns(path, ["id", *GROUP_COLUMNS, *SITE_COLUMNS], needed=[["id"], GROUP_COLUMNS])
    group_of, sites = _one_each(table, GROUP_COLUMNS, "group"), None
    if table.first_of(SITE_COLUMNS) is not None:
        site_of = _one_each(table, SITE_COLUMNS, "site")
        sites = {name: site_of.get(name, NO_SITE) for name in listing.ids}
    lost = [row for row, name in enumerate(listing.ids) if name not in group_of]
    if lost and (orphans == "refuse" or len(lost) == len(listing)):  # a table that names none of them is another's
        mended = suggestion([listing.ids[row] for row in lost], group_of.keys() - set(listing.ids))
        problem = f"lacks {len(lost)} of {len(listing)} ids (first: '{listing.ids[lost[0]]}'), wanted a group for each"
        remedy = "add them, or use --orphans own-group or --orphans drop"
        if mended or orphans != "refuse":
            remedy = "write ids as the source has them" if mended else "give the groups of these patches"
        raise DataError(path, problem + mended, remedy)
    if lost and orphans == "drop":
        gone = set(lost)
        listing = listing.take([row for row in range(len(listing)) if row not in gone])
    return replace(
        listing,
        groups=[group_of.get(name, f"orphan-{name}") for name in listing.ids],
        sites=None if sites is None else [sites[name] for name in listing.ids],
    )


def groups_of(ids: Sequence[str], path: Path) -> list[str]:
    """Return the slide of each id, as a table names it; ids it has beyond these are passed over.

    Args:
        ids: Of the patches.
        path: CSV of `id,wsi`.

    Raises:
        DataError: The table is not one, gives an id two groups, has an empty one, or lacks ids.
    """
    table = read_columns(path, ["id", *GROUP_COLUMNS], needed=[["id"], GROUP_COLUMNS])
    group_of = _one_each(table, GROUP_COLUMNS, "group")
    lost = [name for name in ids if name not in group_of]
    if lost:
        mended = suggestion(lost, group_of.keys() - set(ids))
        problem = f"lacks {len(lost)} of {len(ids)} ids (first: '{lost[0]}'), wanted a group for each"
        raise DataError(path, problem + mended, "write ids as the store has them" if mended else "add them")
    return [group_of[name] for name in ids]


def _one_each(table: Columns, columns: Sequence[str], what: str) -> dict[str, str]:
    """Return the group or the site of each id of a table."""
    values, value_of = table.first_of(columns), dict[str, str]()
    assert values is not None
    for row, (name, value) in enumerate(zip(table.cells["id"], values, strict=True)):
        if is_nothing(value):
            raise DataError(
                table.location_of(row), f"found no {what} for id '{name}'", f"give it a {what} or remove the line"
            )
        if value_of.setdefault(name, value) != value:
            problem = f"found id '{name}' in {what}s '{value_of[name]}' and '{value}', wanted one"
            raise DataError(table.location_of(row), problem, "keep one of the two lines")
    return value_of


def keep_only(listing: Listing, path: Path) -> Listing:
    """Keep the patches that a table with a column `id` names, in the source's order.

    Raises:
        DataError: The table is not one, or names an id that the source does not have.
    """
    table = read_columns(path, ["id"], needed=[["id"]])
    known = set(listing.ids)
    # The table may be one that fastpath wrote, such as neighbours.csv, whose ids are no formulas.
    ids = [name if name in known else from_cell(name) for name in table.cells["id"]]
    wanted = set(ids)
    if not wanted:
        raise DataError(path, "found no ids", "name the patches to keep, one a line")
    lost = [row for row, name in enumerate(ids) if name not in known]
    if lost:
        names = {ids[row] for row in lost}
        problem = f"found {len(names)} ids that are not in the source (first: {min(names)!r})"
        raise DataError(table.location_of(lost[0]), problem + suggestion(names, known - wanted), "correct those lines")
    return listing.take([row for row, name in enumerate(listing.ids) if name in wanted])
