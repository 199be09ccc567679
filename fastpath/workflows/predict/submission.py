"""The table that a competition wants: `id,label`, in the order of its sample, each label a probability."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import DataError
from fastpath.ingest.sources.columns import read_columns
from fastpath.ingest.sources.mending import suggestion
from fastpath.store.columns import locate
from fastpath.urls import behind_url

SAMPLE = "sample_submission.csv"


def sample_beside(source: Path) -> Path | None:
    """Return the sample submission in a source or beside it, None where there is none."""
    if behind_url(source) is not None:
        return None
    result = (folder / SAMPLE for folder in (source, source.resolve().parent))
    return next((path for path in result if path.is_file()), None)


def rows_of(sample: Path, ids_N: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return the rows of the patches in the sample's order; both must name the same ids.

    Raises:
        DataError: The sample cannot be read, or names other ids.
    """
    wanted = sample_ids(sample)
    rows_N, missing = locate(ids_N, wanted)
    if missing:
        problem = f"names {len(missing)} of {len(wanted)} ids that are not among the patches, the first '{missing[0]}'"
        problem += suggestion(missing, set(ids_N.tolist()) - set(wanted))
        raise DataError(sample, problem, "give the sample of these patches, or the patches that are missing")
    if len(wanted) != len(ids_N):
        extra = next(iter(set(ids_N.tolist()) - set(wanted)))
        problem = f"lacks {len(ids_N) - len(wanted)} of {len(ids_N)} patches, for example '{extra}'"
        raise DataError(sample, problem, "give the sample of these patches, or only the patches it names")
    return rows_N


def sample_ids(sample: Path) -> list[str]:
    """Return the ids of a sample submission, or of any table of `id,label`, in its order.

    Raises:
        DataError: It cannot be read, lacks an id, or names one twice.
    """
    table = read_columns(sample, ["id"], needed=[["id"]])
    ids = table.cells["id"]
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not name or name in seen:
            problem = f"found id '{name}' a second time" if name else "found no id"
            raise DataError(table.location_of(row), problem, "correct that line")
        seen.add(name)
    return ids


def render(ids: Sequence[str], probability_N: NDArray[np.float64]) -> bytes:
    """Return the table as CSV, ids letter by letter as the competition has them: not by `text.to_cell`."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "label"))
    writer.writerows((name, f"{value:.9g}") for name, value in zip(ids, probability_N, strict=True))
    return table.getvalue().encode()


def check(table: Path, sample: Path) -> None:
    """Prove that a submission is one: the sample's ids in its order, and a probability for each.

    Raises:
        DataError: Naming the first line that is not as it should be.
    """
    columns = read_columns(table, ["id", "label"], needed=[["id"], ["label"]])
    _prove(columns.cells["id"], columns.cells["label"], sample, table, columns.location_of)


def prove(content: bytes, table: Path, sample: Path) -> None:
    """Prove it of what `render` made and is to be written as `table`; see `check`."""
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]
    _prove([row[0] for row in rows], [row[1] for row in rows], sample, table, lambda row: f"{table} line {row + 2}")


def _prove(
    ids: Sequence[str], labels: Sequence[str], sample: Path, table: Path, location_of: Callable[[int], str]
) -> None:
    wanted = sample_ids(sample)
    if len(ids) != len(wanted):
        raise DataError(table, f"found {len(ids)} rows, wanted the {len(wanted)} of {sample.name}", "predict again")
    for row, (name, label, expected) in enumerate(zip(ids, labels, wanted, strict=True)):
        if name != expected:
            raise DataError(
                location_of(row), f"found id '{name}', wanted '{expected}'", f"keep the order of {sample.name}"
            )
        try:
            value = float(label)
        except ValueError:
            value = math.nan
        if not 0.0 <= value <= 1.0:
            raise DataError(location_of(row), f"found label '{label}', wanted a number from 0 to 1", "predict again")
