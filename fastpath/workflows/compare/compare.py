"""Put trained runs side by side on the same validation patches, and say which differences are more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastpath.engine import journal
from fastpath.errors import CheckpointError, UsageError
from fastpath.ingest.split import leak_notice
from fastpath.runs import best_epoch, output_place
from fastpath.runs import run_directory as directory
from fastpath.runs.row_lookup import history_of
from fastpath.runs.score_views import score
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows.compare.comparison import (
    RESULT,
    CompareResult,
    check_labels,
    compare_scores,
    short_names,
    without_comparisons,
)
from fastpath.workflows.compare.comparison_files import write


def compare_runs(
    runs: Sequence[Path],
    runtime: Runtime,
    *,
    store_path: Path | None = None,
    split_file: Path | None = None,
    output: Path | None = None,
    checkpoint: CheckpointName = "best",
    advance: Callable[[int, int], None] | None = None,
) -> CompareResult:
    """Score every run on the whole validation split and compare all pairs.

    Runs may have trained on a draw of the training split, or validated on a draw of the other (`data.limit`,
    `data.val_limit`): none has trained on a validation patch, so all are scored on all of these.

    Args:
        runs: Directories of runs, or checkpoints' files; two at least.
        runtime: Device and precision.
        store_path: Where the store lies now; None takes the first run's.
        split_file: Where the split lies now; None is where the first run had it.
        output: Where to write; None is `comparison` beside the first run.
        checkpoint: The best epoch's weights or the last's.
        advance: Called with patches scored and in all, over all runs.

    Raises:
        UsageError: Fewer than two runs, or the same one twice.
        CheckpointError: A run was trained on another store or split, naming both.
        DataError: The validation patches are of one class.
    """
    runs, left_out = without_comparisons(runs)
    if len(runs) < 2 or len({path.resolve() for path in runs}) < len(runs):
        raise UsageError("arguments", f"found {len(runs)} runs, wanted two or more, all different", "name several runs")
    trained = [open_run(path, checkpoint) for path in runs]
    output = output or trained[0].path.parent.parent / "comparison"
    output_place.check_directory(output, RESULT, (*runs, store_path))
    store = trained[0].open_store(store_path, split_file)
    for scored_run in trained:
        check_same_split(scored_run, store)
    table = read_split(store)
    rows_N = table.rows(Split.VAL)
    check_labels(store.labels_N[rows_N], store.path)
    total = len(rows_N) * len(trained)
    logits_RN = np.stack(
        [
            score(scored_run, store, rows_N, runtime, _part(advance, at * len(rows_N), total))
            for at, scored_run in enumerate(trained)
        ]
    )
    names = short_names(runs)
    labels_N = store.labels_N[rows_N]
    groups_N = None if store.groups_N is None else store.groups_N[rows_N]
    models = [(scored_run.config.model.name, scored_run.checkpoint.epoch) for scored_run in trained]
    place = store.name
    leaks = leak_notice(store, table)
    result = compare_scores(
        models, names, labels_N, logits_RN, groups_N, store=place, kind=table.kind, output=output, notices=[leaks]
    )
    errors = {entry.name: entry.standard_error for entry in result.runs}
    histories = [history_of(scored_run, store, rows_N) for scored_run in trained]
    chosen = best_epoch.of_runs(names, histories, [errors[name] for name in names])
    result = replace(result, notices=[*left_out, *chosen, *result.notices])
    journals = [_epochs(scored_run.path.parent / directory.JOURNAL) for scored_run in trained]
    write(output, result, labels_N, logits_RN, names, journals, store.ids_N[rows_N])
    return result


def _epochs(path: Path) -> list[dict[str, object]]:
    """Return the epochs to draw of a run; none where its journal is not one, which no number depends on."""
    try:
        result = journal.read(path)
    except (OSError, ValueError, RecursionError):
        return []
    whole = all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in result)
    return result if whole and all(isinstance(row.get("val_auc"), float | None) for row in result) else []


def check_same_split(run: TrainedRun, store: Store) -> None:
    """Refuse a run that was trained on other patches than the store's training split.

    Raises:
        CheckpointError: Naming what was found in the checkpoint and what the store has.
    """
    if run.config.train.include_val:
        problem = "was trained on the validation patches too (train.include_val), which would flatter it"
        raise CheckpointError(run.path, problem, "compare a run of the same recipe with train.include_val=false")
    difference = run.differs(store)
    if difference is not None:
        what, wanted, result = difference
        problem = f"was trained on another {what} than {store}: found {result}, wanted {wanted}"
        raise CheckpointError(run.path, problem, "compare runs of one store and one split")


def _part(advance: Callable[[int, int], None] | None, before: int, total: int) -> Callable[[int, int], None] | None:
    return None if advance is None else lambda done, _total: advance(before + done, total)
