"""Put tables of predictions side by side, such as two recipes leave of the same folds: no network is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpath.errors import DataError, UsageError
from fastpath.runs import out_of_fold, output_place, report_table, row_history
from fastpath.workflows.compare import comparison
from fastpath.workflows.compare.comparison import CompareResult
from fastpath.workflows.compare.comparison_files import write

if TYPE_CHECKING:
    import pandas as pd


def are_tables(paths: Sequence[Path]) -> bool:
    """Whether any of these is a table, or a directory of folds, which holds one."""
    return any(out_of_fold.table_of(path) is not None for path in paths)


def compare_tables(paths: Sequence[Path], output: Path | None = None) -> CompareResult:
    """Compare tables of predictions of the same patches, in all pairs; see `compare.compare_runs`.

    Args:
        paths: Tables of `id`, `label`, `logit` and perhaps `group`, or directories of `train --folds`; two at least.
        output: Where to write; None is `comparison` beside the first.

    Raises:
        UsageError: Fewer than two, the same one twice, or a run among them.
        DataError: A table cannot be read, or is not of the first one's patches and labels.
    """
    paths, left_out = comparison.without_comparisons(paths)
    tables = [out_of_fold.table_of(path) for path in paths]
    named = [table for table in tables if table is not None]
    if len(named) < len(paths):
        problem = f"found no table of predictions and {len(named)} beside it, wanted tables or runs alone"
        raise UsageError(paths[tables.index(None)], problem, "score the run with 'fastpath evaluate' first")
    if len(named) < 2 or len({table.resolve() for table in named}) < len(named):
        problem = f"found {len(named)} tables, wanted two or more, all different"
        raise UsageError("arguments", problem, "name several tables")
    output = output or paths[0].parent / "comparison"
    output_place.check_directory(output, comparison.RESULT, (*paths, *named))
    frames = [_labelled(table) for table in named]
    first = frames[0]
    labels_N = first["label"].to_numpy(np.int8)
    comparison.check_labels(labels_N, named[0])
    aligned = [frame.set_index("id").reindex(first["id"]) for frame in frames]
    for table, frame, same in zip(named, frames, aligned, strict=True):
        if len(frame) != len(first) or not (same["label"].to_numpy(np.float64) == labels_N).all():
            problem = f"found other patches or labels than those of {named[0]}"
            raise DataError(table, problem, "compare predictions of the same patches")
    logits_RN = np.stack([same["logit"].to_numpy(np.float32) for same in aligned])
    groups_N = first["group"].to_numpy(object) if "group" in first and first["group"].notna().all() else None
    names = comparison.short_names([path if path.is_dir() else path.with_suffix("") for path in paths])
    models, place = [("", 0)] * len(names), named[0].name
    notices = left_out + list(dict.fromkeys(text for frame in frames for text in row_history.of_table(frame)))
    result = comparison.compare_scores(
        models, names, labels_N, logits_RN, groups_N, store=place, kind="table's", output=output, notices=notices
    )
    ids_N = first["id"].to_numpy(object)
    write(output, result, labels_N, logits_RN, names, [[] for _ in names], ids_N)
    return result


def _labelled(path: Path) -> pd.DataFrame:
    """Read a table and see that every patch has a label."""
    frame = report_table.judged_rows(out_of_fold.read(path))
    if "label" not in frame or not frame["label"].isin((0, 1)).all():
        raise DataError(path, "found patches without a label of 0 or 1, wanted one for each", "complete the table")
    return frame
