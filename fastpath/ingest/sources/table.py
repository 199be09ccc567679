"""A CSV or Parquet table of paths, with ids, labels and groups where it has them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.sources.columns import Columns, read_columns
from fastpath.ingest.sources.listing import Listing, Source, check_ids
from fastpath.ingest.sources.opened import is_table
from fastpath.ingest.sources.tables import GROUP_COLUMNS, SITE_COLUMNS, is_nothing, label_remedy
from fastpath.store.format import UNLABELLED
from fastpath.system.litter import lies_in_litter

LABELS = {"0": 0, "1": 1, "": UNLABELLED}


def list_table(path: Path) -> Listing:
    """List a table's rows in its order.

    Columns: `path` (relative to the table, or absolute); optionally `id` (else the file's stem), `label` (0, 1 or
    empty), `wsi` or `group`, and `site`.

    Raises:
        DataError: The table cannot be read, has no paths, or a value is wrong.
    """
    table = read_columns(path, ["path", "id", "label", *GROUP_COLUMNS, *SITE_COLUMNS], needed=[["path"]])
    table, notices = _without_litter(table)
    names = table.cells["path"]
    if not names:
        raise DataError(path, "found no rows, wanted 'path' and at least one row", "give a table of image paths")
    for row, name in enumerate(names):
        if not name.isprintable() or not name:
            raise DataError(
                table.location_of(row), f"found path {name[:80]!r}, wanted that of a file", "correct that line"
            )
    ids = table.cells.get("id") or [PurePosixPath(name).stem for name in names]
    check_ids(ids, path, table.location_of)
    labels = table.cells.get("label", [""] * len(names))
    for row, label in enumerate(labels):
        if label not in LABELS:
            problem = f"found label {label[:40]!r} of id '{ids[row]}', wanted 0, 1 or none"
            raise DataError(table.location_of(row), problem, label_remedy(label))
    groups, sites = table.first_of(GROUP_COLUMNS), table.first_of(SITE_COLUMNS)
    for what, values in (("group", groups), ("site", sites)):
        odd = [row for row, value in enumerate(values or ()) if is_nothing(value)]
        if odd:
            problem, remedy = f"found no {what} for id '{ids[odd[0]]}'", f"give each patch a {what}, or none"
            raise DataError(table.location_of(odd[0]), problem, remedy)
    labels_N = np.array([LABELS[label] for label in labels], np.int8)
    return Listing("table", path.absolute().parent, "files", names, ids, labels_N, groups, notices=notices, sites=sites)


def _without_litter(table: Columns) -> tuple[Columns, tuple[str, ...]]:
    """Leave out rows whose file is litter, as a table that was made by listing a folder has them."""
    names = table.cells["path"]
    keep = [row for row, name in enumerate(names) if not lies_in_litter(name)]
    if len(keep) == len(names):
        return table, ()
    odd = next(name for name in names if lies_in_litter(name))
    notice = f"{len(names) - len(keep)} rows were left out as litter, such as '{odd}'"
    cells = {name: [column[row] for row in keep] for name, column in table.cells.items()}
    return Columns(table.path, table.header, cells, [table.lines[row] for row in keep]), (notice,)


SOURCE = Source(lambda path: not path.is_dir() and is_table(path.name), lambda path, labels, follow: list_table(path))
