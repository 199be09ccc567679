"""Subgroups of the patches that are judged: by what they look like, and by columns of the index or of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics, subgroups
from fastpath.analysis import sites as site_facts
from fastpath.analysis.pixels.appearance import MEASURES
from fastpath.errors import DataError, UsageError
from fastpath.ingest import quality
from fastpath.ingest.sources.columns import header_of, read_columns
from fastpath.ingest.sources.opened import is_table
from fastpath.runs.patch_appearance import measure
from fastpath.runs.report_table import Floats, ScoredTable
from fastpath.store.reader import Store
from fastpath.system.json_values import plain
from fastpath.text import from_cell

THRESHOLD = 0.5
OPTION, SITE = "--by", "site"
FEW_NUMBERS = 10
"""A column of numbers with more distinct values than this is cut into quarters."""

_SCORES = ("id", "label", "group", "part", "logit", "probability", "calibrated", "plain_logit", "spread")
"""Columns of a table of predictions that are what is judged, and not what it is judged by."""

Names = NDArray[np.object_]


def facts(
    table: ScoredTable,
    calibrated_N: Floats,
    store: Store | None,
    rows_N: NDArray[np.int64] | None,
    *,
    by: Sequence[str],
    seed: int,
    measures: Mapping[str, Floats] | None = None,
) -> dict[str, Any]:
    """Return the subgroups of a table, worst first, and its sites, as plain values under `subgroups` and `sites`.

    Args:
        table: Divided; what calibrates is not judged here.
        calibrated_N: Calibrated logits.
        store: Where they lie; None leaves out what they look like.
        rows_N: Their rows of the store.
        by: Names of columns of the store's index, and tables with a column `id`.
        seed: Decides the resamples.
        measures: What those that do not calibrate look like, where that is known already
            (`patch_appearance.measure`).

    Raises:
        DataError: A table cannot be read or names none of the patches.
        UsageError: There is no such column.
    """
    assert table.is_calibration_N is not None
    held_N = ~table.is_calibration_N
    table, calibrated_N, rows_N = table.part(held_N), calibrated_N[held_N], None if rows_N is None else rows_N[held_N]
    check(by, store)
    columns: dict[str, Names] = {}
    if store is not None and rows_N is not None:
        measures = measure(store, rows_N) if measures is None else measures
        columns |= {name: subgroups.quarters(values_N) for name, values_N in measures.items()}
        columns |= _flags(store, rows_N)
        columns |= {} if store.sites_N is None else {SITE: store.sites_N[rows_N]}
        for part in by:
            columns |= {} if is_table(part) else _of_index(part, store, rows_N)
    for part in by:
        columns |= _of_table(Path(part), table.ids_N) if is_table(part) else {}
    usable = {name: values_N for name, values_N in columns.items() if subgroups.usable(values_N)}
    result = subgroups.survey(table.labels_N, calibrated_N, table.groups_N, usable, threshold=THRESHOLD, seed=seed)
    values = {
        "num_patches": len(table),
        "threshold": THRESHOLD,
        "unit": intervals.units_of(table.groups_N, len(table)).kind,
        "auc": metrics.roc_auc(table.labels_N, calibrated_N),
        "titles": {name: MEASURES[name].title if name in MEASURES else name for name in columns},
        "units": {name: MEASURES[name].unit for name in usable if name in MEASURES},
        "left_out": sorted(set(columns) - set(usable)),
        "groups": [asdict(entry) for entry in result],
    }
    sites = site_facts.facts(table.labels_N, calibrated_N, table.groups_N, columns.get(SITE), seed)
    return {"subgroups": plain(values), "sites": plain(sites)}


def check(by: Sequence[str], store: Store | None) -> None:
    """Refuse what cannot be a column, before time is spent on scoring patches.

    Raises:
        DataError: A table cannot be read.
        UsageError: The store's index has no such column, or there is no store.
    """
    for variable in by:
        if is_table(variable):
            header_of(Path(variable))
        elif store is None:
            remedy = "name the store with --store, or give a table"
            raise UsageError(OPTION, f"found the column '{variable}', but no store whose index could have it", remedy)
        elif variable not in store.index.columns:
            wanted = ", ".join(str(column) for column in store.index.columns)
            raise UsageError(
                OPTION, f"found '{variable}', wanted a table or a column of the index: {wanted}", "correct it"
            )


def _flags(store: Store, rows_N: NDArray[np.int64]) -> dict[str, Names]:
    """Return a column for each quality flag that some of the patches have and some have not."""
    flags_N = store.column("flags")[rows_N]
    flags = {}
    for name in quality.names():
        has_N = (flags_N & int(quality.parse(name))) != 0
        if has_N.any() and not has_N.all():
            flags[f"flag {name}"] = np.where(has_N, "flagged", "not flagged").astype(object)
    return flags


def _of_index(name: str, store: Store, rows_N: NDArray[np.int64]) -> dict[str, Names]:
    values_N = store.column(name)[rows_N]
    if np.issubdtype(values_N.dtype, np.number):
        return {name: _numbers(values_N.astype(np.float64))}
    return {name: np.array([_text(value) for value in values_N], object)}


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value or subgroups.UNKNOWN)


def _of_table(path: Path, ids_N: Names) -> dict[str, Names]:
    """Return the columns of a table, a value a patch: `unknown` where it does not name the patch or holds nothing."""
    names = [name for name in header_of(path) if name.casefold() not in _SCORES]
    table = read_columns(path, ["id", *names], needed=[["id"]])
    row_of = {from_cell(name): row for row, name in enumerate(table.cells["id"])}
    rows = [row_of.get(str(name)) for name in ids_N]
    if all(row is None for row in rows):
        problem = f"names none of the {len(ids_N)} patches that are judged"
        raise DataError(path, problem, "write ids as the store has them")
    return {name: _column(table.cells[name], rows) for name in names if name in table.cells}


def _column(cells: Sequence[str], rows: Sequence[int | None]) -> Names:
    texts = [cells[row] if row is not None and cells[row] else subgroups.UNKNOWN for row in rows]
    known = [text for text in texts if text != subgroups.UNKNOWN]
    try:
        numbers: Mapping[str, float] = {text: float(text) for text in set(known)}
    except ValueError:
        return np.array(texts, object)
    return _numbers(np.array([numbers.get(text, np.nan) for text in texts]))


def _numbers(values_N: Floats) -> Names:
    """Return the values themselves where they are few, else the quarters they lie in."""
    known_N = np.isfinite(values_N)
    if len(np.unique(values_N[known_N])) > FEW_NUMBERS:
        return subgroups.quarters(values_N)
    return np.array(
        [f"{value:g}" if known else subgroups.UNKNOWN for value, known in zip(values_N, known_N, strict=True)], object
    )
