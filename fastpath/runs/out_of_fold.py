"""Predictions of networks that did not train on what they predict: one row a patch, as folds leave it.

Columns `id`, `group`, `label`, `logit`, `fold` and `history`, and `site` where the store has sites. A row's logit is of
the network whose validation fold it was in; its history says whether it chose that network's epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpath.errors import DataError
from fastpath.runs import output_place
from fastpath.store.reader import Store
from fastpath.system import tables
from fastpath.system.files import write_durably

if TYPE_CHECKING:
    import pandas as pd

NAME, SUMMARY = "out_of_fold.parquet", "folds.json"
COLUMNS = ("id", "group", "label", "logit", "fold", "history")


def table_of(path: Path) -> Path | None:
    """Return the table that a path stands for: a table itself, or that in a directory of folds; None for neither."""
    if path.suffix in tables.SUFFIXES:
        return path
    inside = path / NAME
    return inside if inside.exists() else None


def write(
    path: Path, store: Store, rows_N: np.ndarray, logits_N: np.ndarray, folds_N: np.ndarray, *, history: str
) -> pd.DataFrame:
    """Write the predictions of these rows of a store, whole or not at all; returns them.

    Args:
        path: The table.
        store: Where ids, groups and labels are from.
        rows_N: int64 [N].
        logits_N: float32 [N].
        folds_N: int [N], fold in which each row was validation.
        history: A word of `row_history`, of all.
    """
    import pandas as pd

    groups_N = np.full(len(rows_N), None, object) if store.groups_N is None else store.groups_N[rows_N]
    frame = pd.DataFrame(
        {
            "id": pd.Series(store.ids_N[rows_N], dtype="str"),
            "group": pd.Series(groups_N, dtype="str"),
            "label": store.labels_N[rows_N].astype(np.int8),
            "logit": logits_N.astype(np.float32),
            "fold": folds_N.astype(np.int16),
            "history": pd.Series([history] * len(rows_N), dtype="str"),
        }
    )
    if store.sites_N is not None:
        frame["site"] = pd.Series(store.sites_N[rows_N], dtype="str")
    write_durably(path, tables.render(frame, path))
    return frame


def read(path: Path) -> pd.DataFrame:
    """Read a table of predictions, Parquet or CSV, with at least `id` and `logit`.

    Raises:
        DataError: It cannot be read, lacks one of these, names a patch twice, or a logit is not finite.
    """
    import pandas as pd

    output_place.check_whole(path)
    remedy = "give the out_of_fold.parquet of 'fastpath train --folds'"
    frame, _ = tables.read(path, remedy)
    missing = [name for name in ("id", "logit") if name not in frame]
    if missing:
        raise DataError(path, f"found no column '{missing[0]}', wanted {', '.join(COLUMNS)}", remedy)
    logits_N = np.asarray(pd.to_numeric(frame["logit"], errors="coerce"), np.float64)
    names = frame["id"]
    if not np.isfinite(logits_N).all() or names.duplicated().any():
        problem = "a logit that is not finite" if not np.isfinite(logits_N).all() else "a patch twice"
        raise DataError(path, f"found {problem}, wanted one finite logit a patch", remedy)
    return frame


def logits_of(frame: pd.DataFrame, path: Path, store: Store, rows_N: np.ndarray) -> np.ndarray:
    """Return the table's logits of these rows of a store, float64 [N], in their order.

    Raises:
        DataError: A patch is not in the table.
    """
    result = frame.set_index("id")["logit"].reindex(store.ids_N[rows_N]).to_numpy(np.float64)
    missing = np.flatnonzero(np.isnan(result))
    if len(missing):
        name = store.ids_N[rows_N[missing[0]]]
        problem = f"lacks {len(missing)} of {len(rows_N)} training patches, the first '{name}'"
        raise DataError(path, problem, "give the table of folds over this very store")
    return result
