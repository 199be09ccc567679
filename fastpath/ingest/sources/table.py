"""A CSV or Parquet table of paths, with ids, labels and groups where it has them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.sources.listing import Listing, check_ids
from fastpath.ingest.sources.tables import GROUP_COLUMNS
from fastpath.shards.format import UNLABELLED

LABELS = {"0": 0, "1": 1, "": UNLABELLED}


def list_table(path: Path) -> Listing:
    """List a table's rows in its order.

    Columns: `path` (relative to the table, or absolute); optionally `id` (else the file's stem), `label` (0, 1 or
    empty) and `wsi` or `group`.

    Raises:
        DataError: The table cannot be read, has no paths, or a value is wrong.
    """
    columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    if not columns.get("path"):
        problem = f"found columns {','.join(columns)[:80]!r}, wanted 'path' and at least one row"
        raise DataError(path, problem, "give a table with a column of image paths")
    names = columns["path"]
    ids = columns.get("id") or [Path(name).stem for name in names]
    check_ids(ids, path)
    labels = columns.get("label", [""] * len(names))
    for name, label in zip(ids, labels, strict=True):
        if label not in LABELS:
            raise DataError(path, f"found label '{label}' of id '{name}', wanted 0, 1 or none", "correct that label")
    groups = next((columns[name] for name in GROUP_COLUMNS if name in columns), None)
    if groups is not None and "" in groups:
        raise DataError(path, f"found no group for id '{ids[groups.index('')]}'", "give each patch a group, or none")
    labels_N = np.array([LABELS[label] for label in labels], np.int8)
    return Listing("table", path.absolute().parent, "files", names, ids, labels_N, groups)


def _csv(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"cannot be read as CSV ({error})", "save it as CSV in UTF-8") from None
    header = [name.strip() for name in rows[0]] if rows else []
    body = [row for row in rows[1:] if row]
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise DataError(f"{path} row {number}", f"found {len(row)} values, wanted {len(header)}", "correct it")
    return {name: [row[at].strip() for row in body] for at, name in enumerate(header)}


def _parquet(path: Path) -> dict[str, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = {name: table[name].cast(pa.string()).to_pylist() for name in table.column_names}
    except (OSError, pa.ArrowException) as error:
        raise DataError(path, f"cannot be read as Parquet ({str(error).splitlines()[0]})", "write it again") from None
    return {name: _texts(values) for name, values in columns.items()}


def _texts(values: Sequence[str | None]) -> list[str]:
    return ["" if value is None else value for value in values]
