"""Judge a table of predictions as a run is judged: no network, so neither torch nor DALI nor timm is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import DataError, FastpathError, UsageError
from fastpath.runs import out_of_fold, output_place, report_table
from fastpath.runs.report_table import ScoredTable
from fastpath.runs.row_history import HONEST, of_words
from fastpath.store.columns import locate
from fastpath.store.reader import Store, open_store
from fastpath.workflows.evaluate import report_files, report_gallery, subgroup_facts
from fastpath.workflows.evaluate.report_about import notices_and_facts, uncalibrated
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, evaluate_scores
from fastpath.workflows.evaluate.report_files import GALLERY_NUM, METRICS, EvaluateResult
from fastpath.workflows.evaluate.report_gallery import Card


def evaluate_table(
    path: Path,
    *,
    output: Path | None = None,
    store_path: Path | None = None,
    options: EvaluateOptions | None = None,
) -> EvaluateResult:
    """Judge a table of predictions (`id`, `label`, `logit`, optionally `group`), or the one that folds left.

    Args:
        path: Parquet or CSV, or the directory of `train --folds`.
        output: Where to write; None is a directory of the table's name beside it.
        store_path: A store that holds the patches, for the gallery; None takes the folds' own where it is unchanged,
            and of a table leaves the gallery out.
        options: As for `evaluate.evaluate_run`; there is nothing to score in more views.

    Raises:
        DataError: The table cannot be judged, or names patches that the store has not.
        UsageError: More views were asked for.
    """
    options, by_folds, folds_store = options or EvaluateOptions(), [], None
    if options.tta != "none":
        raise UsageError("--tta", f"found {options.tta}, but {path} is scored already", "leave it out, or name a run")
    if path.is_dir():
        folds_store, by_folds = _store_of_folds(path), _told_by_folds(path)
    path = out_of_fold.table_of(path) or path
    output = output or path.with_name(f"evaluation-{path.stem}")
    output_place.check_directory(output, METRICS, (path, store_path))
    table, dealt = report_table.divide(report_table.read(path), options.seed)
    history = None if table.history_N is None else of_words(table.history_N).of(table.judged_N)
    options = uncalibrated(options, history)
    evaluation = evaluate_scores(table, options)
    of_rows, facts = notices_and_facts(history, evaluation)
    store, rows_N = folds_store if store_path is None else open_store(store_path), None
    logits_N, seed = evaluation.calibrated_N, options.seed
    cards: list[Card] = []
    if store is not None:
        rows_N = _rows(table, store, path)
        cards = report_gallery.make(table, logits_N, store, rows_N, None, num=GALLERY_NUM, seed=seed)
    by = (*options.by, str(path))
    evaluation.facts.update(subgroup_facts.facts(table, logits_N, store, rows_N, by=by, seed=seed))
    unknown = "" if table.groups_N is not None else "the table has no column 'group', so slides are unknown"
    if any(HONEST in text for text in by_folds):  # folds said it of themselves, with the size
        of_rows = [text for text in of_rows if HONEST not in text]
    notices = [notice for notice in (*of_rows, unknown, dealt, *by_folds) if notice]
    about = {"table": path.name, "tta_views": "none", "history": facts, "notices": notices}
    return report_files.write(output, scored=table, evaluation=evaluation, about=about, cards=cards)


def _store_of_folds(run_dir: Path) -> Store | None:
    """Return the store that folds were trained on; None where it is gone or holds other patches now."""
    from fastpath.runs.trained import open_run  # loads torch, which a table alone has no use for

    try:
        trained = open_run(run_dir / "fold-0")
        store = trained.open_store()
    except FastpathError:
        return None
    return store if store.fingerprint == trained.checkpoint.store_fingerprint else None


def _told_by_folds(run_dir: Path) -> list[str]:
    """Return what the reader of pooled predictions should know, from the summary of the folds where there is one."""
    try:
        facts = json.loads((run_dir / out_of_fold.SUMMARY).read_text(encoding="utf-8"))
        num, mean, deviation = (facts[name] for name in ("num_folds", "mean_auc", "sd_auc"))
        pooled = f"predictions are of {num} networks, each of the patches it did not train on; where their scales "
        pooled += (
            f"differ the pooled AUC is below that of the folds (mean {mean:.4f}, standard deviation {deviation:.4f})"
        )
        return [pooled, *facts["notices"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _rows(table: ScoredTable, store: Store, path: Path) -> NDArray[np.int64]:
    """Return the row of the store of each patch of a table."""
    rows_N, missing = locate(store.ids_N, table.ids_N)
    if missing:
        problem = f"names {len(missing)} of {len(table)} patches that {store} has not, the first '{missing[0]}'"
        raise DataError(path, problem, "give the store that was predicted, or none")
    return rows_N
