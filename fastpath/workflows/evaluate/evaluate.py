"""Judge a trained run, or a table of predictions: how good, how sure, where to set the threshold, what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import CheckpointError, DataError, FastpathError, UsageError
from fastpath.ingest.split import leak_notice
from fastpath.runs import calibration_file, out_of_fold, output_place, report_table
from fastpath.runs.precision import newly_told, settle
from fastpath.runs.report_table import ScoredTable
from fastpath.runs.row_history import COLUMN, HONEST, RowHistory, error_of, history_of
from fastpath.runs.row_words import of_words
from fastpath.runs.score_views import score_views
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store, locate, open_store
from fastpath.store.split_table import SplitTable, read_split
from fastpath.text import command_line
from fastpath.types import Split
from fastpath.workflows.evaluate import external, frozen, report_files, report_gallery, subgroup_facts
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, Evaluation, evaluate_scores
from fastpath.workflows.evaluate.report_files import GALLERY_NUM, METRICS, PREDICTIONS, EvaluateResult
from fastpath.workflows.evaluate.report_gallery import Card

Advance = Callable[[int, int], None]


def evaluate_run(
    run_dir: Path,
    runtime: Runtime,
    *,
    store_path: Path | None = None,
    split_file: Path | None = None,
    split: Split | None = None,
    output: Path | None = None,
    checkpoint: CheckpointName = "best",
    options: EvaluateOptions | None = None,
    advance: Advance | None = None,
) -> EvaluateResult:
    """Score labelled patches and write metrics.json, predictions.parquet, report.html and gallery.csv.

    Calibration and operating points are chosen on patches of their own. A test split has the validation split for
    that; any other split is dealt into two halves, by slide where slides are known. Fitted on the run's own data, the
    calibration is kept beside the checkpoint for `predict`. Patches that were trained on calibrate nothing.

    Another store than the run's own chooses nothing: all of its labelled patches are judged with the calibration and
    the thresholds that are kept beside the checkpoint; see `external`.

    Args:
        run_dir: A run directory, or a checkpoint's file.
        runtime: Device and precision.
        store_path: The store; None takes the run's own, which must be unchanged. A store that is named may be another.
        split_file: Where the store's split lies; None is where the run had it.
        split: The part of the store; None is the validation split of the run's own, and all of another.
        output: Where to write; None is `evaluation-<split>` in the run, `external-<store>` of another store; what
            differs from the usual (views, their mean, checkpoint) is added to the name.
        checkpoint: The best epoch's weights or the last's.
        options: Views, calibration, prevalence, cost and seed; None takes the defaults.
        advance: Called with patches done and in all.

    Raises:
        CheckpointError: The run's own store or its split is not what the run was trained on.
        DataError: The split is empty, unlabelled, of one class, or cannot be scored.
    """
    options, trained = options or EvaluateOptions(), open_run(run_dir, checkpoint)
    suffix = calibration_file.suffix_of(trained.path, options.tta, options.mean)
    store = trained.open_store(store_path, split_file)
    if split_file is not None and split_file.resolve() != trained.split_file:
        suffix += f"-{split_file.stem}"
    if store_path is not None and external.is_other(trained, store):
        output = output or trained.path.parent / f"{external.directory_of(store, split)}{suffix}"
        output_place.check_directory(output, METRICS, (run_dir, store_path))
        return external.validate_externally(
            trained, store, runtime, output, split=split, checkpoint=checkpoint, options=options, advance=advance
        )
    split = split or Split.VAL
    output = output or trained.path.parent / f"evaluation-{split}{suffix}"
    output_place.check_directory(output, METRICS, (run_dir, store_path))
    subgroup_facts.check(options.by, store)
    split_table = read_split(store)
    foreign = _check_origin(trained, store, named=(store_path or split_file) is not None)
    rows_N, is_calibration_N = _part(store, split_table, split)
    history = history_of(trained, store, rows_N)
    rows_N, is_calibration_N, history, untold = _untrained(rows_N, is_calibration_N, history)
    options = _uncalibrated(options, history)
    decided = settle(runtime, trained.config, training=False)
    views_NV = score_views(trained, store, rows_N, decided, options.tta, advance)
    table, dealt = _divided(
        report_table.scored(store, rows_N, views_NV, options.mean), is_calibration_N, store, options.seed
    )
    table = replace(table, history_N=history.words_N)
    evaluation = evaluate_scores(table, options)
    cards = _gallery(table, evaluation, store, rows_N, trained, runtime, options)
    evaluation.facts.update(
        subgroup_facts.facts(table, evaluation.calibrated_N, store, rows_N, by=options.by, seed=options.seed)
    )
    of_rows, facts = _told_by_history(history.of(table.judged_N), evaluation)
    leaks = leak_notice(store, split_table, split)
    notices = (foreign, *of_rows, untold, leaks, dealt, newly_told(decided, runtime))
    about = {
        "split": split,
        "checkpoint": checkpoint,
        "epoch": trained.checkpoint.epoch,
        "run": trained.path.parent.absolute().name,
        "model": trained.config.model.name,
        "store": store.name,
        "store_fingerprint": store.fingerprint,
        "split_kind": split_table.kind,
        "tta_views": options.tta,
        "history": facts,
        "notices": [notice for notice in notices if notice],
    }
    result = report_files.write(output, scored=table, evaluation=evaluation, about=about, cards=cards)
    if not foreign and not history.trained_N.any():
        of = Split.VAL if table.apart else split
        fitted_on = {"split": split, "of": of, "seed": options.seed, **evaluation.facts["parts"]["calibration"]}
        cautions = [verdict["text"] for verdict in evaluation.facts["calibration"]["verdicts"] if verdict["caution"]]
        values = {"tta": options.tta, "mean": options.mean, "fitted_on": fitted_on, "cautions": cautions}
        values |= frozen.keep(evaluation.facts)
        try:
            replaced = calibration_file.save(
                trained.path, options.method, evaluation.fitted, values, output / PREDICTIONS
            )
            result.notices.extend(filter(None, [replaced]))
        except UsageError as error:  # a run that others share may be for reading only
            result.notices.append(f"the calibration is not kept for 'fastpath predict': {error}")
    return result


def run_table(
    path: Path,
    runtime: Runtime,
    *,
    output: Path | None = None,
    store_path: Path | None = None,
    options: EvaluateOptions | None = None,
) -> EvaluateResult:
    """Judge a table of predictions (`id`, `label`, `logit`, optionally `group`), or the one that folds left.

    Args:
        path: Parquet or CSV, or the directory of `train --folds`.
        runtime: Not used to score; pictures of the gallery need none of it.
        output: Where to write; None is a directory of the table's name beside it.
        store_path: A store that holds the patches, for the gallery; None takes the folds' own where it is unchanged,
            and of a table leaves the gallery out.
        options: As for `evaluate_run`; there is nothing to score in more views.

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
    options = _uncalibrated(options, history)
    evaluation = evaluate_scores(table, options)
    of_rows, facts = _told_by_history(history, evaluation)
    store, rows_N = folds_store if store_path is None else open_store(store_path), None
    cards: list[Card] = []
    if store is not None:
        rows_N = _rows(table, store, path)
        cards = _gallery(table, evaluation, store, rows_N, None, runtime, options)
    by, seed = (*options.by, str(path)), options.seed
    evaluation.facts.update(subgroup_facts.facts(table, evaluation.calibrated_N, store, rows_N, by=by, seed=seed))
    unknown = "" if table.groups_N is not None else "the table has no column 'group', so slides are unknown"
    if any(HONEST in text for text in by_folds):  # folds said it of themselves, with the size
        of_rows = [text for text in of_rows if HONEST not in text]
    notices = [notice for notice in (*of_rows, unknown, dealt, *by_folds) if notice]
    about = {"table": path.name, "tta_views": "none", "history": facts, "notices": notices}
    return report_files.write(output, scored=table, evaluation=evaluation, about=about, cards=cards)


def _uncalibrated(options: EvaluateOptions, history: RowHistory | None) -> EvaluateOptions:
    """Return choices that leave probabilities as they are where patches were trained on: these calibrate nothing."""
    return replace(options, method="none") if history is not None and history.trained_N.any() else options


def _told_by_history(history: RowHistory | None, evaluation: Evaluation) -> tuple[list[str], dict[str, Any] | None]:
    """Return what is to be said of the patches that are judged, and the facts; None where nothing tells."""
    if history is None:
        text = f"the table has no column '{COLUMN}', so nothing tells whether its patches were trained on or chosen by"
        return [text], None
    error = error_of(evaluation.facts)
    return history.notices(auc_error=error), history.facts() | {"auc_optimism": history.optimism(error)}


def _gallery(
    table: ScoredTable,
    evaluation: Evaluation,
    store: Store,
    rows_N: NDArray[np.int64],
    trained: TrainedRun | None,
    runtime: Runtime,
    options: EvaluateOptions,
) -> list[Card]:
    """Return the gallery of the patches that are judged."""
    own_N = table.judged_N
    gallery_options: dict[str, Any] = {"num": GALLERY_NUM, "seed": options.seed}
    calibrated_N = evaluation.calibrated_N[own_N]
    return report_gallery.make(
        table.judged_part(), calibrated_N, store, rows_N[own_N], trained, runtime, **gallery_options
    )


def _store_of_folds(run_dir: Path) -> Store | None:
    """Return the store that folds were trained on; None where it is gone or holds other patches now."""
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


def _part(store: Store, split_table: SplitTable, split: Split) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """Return the rows to score, and which of them calibrate: of a test split, the validation split that goes with it.

    None leaves that to be dealt.
    """
    rows_N = split_table.rows(split)
    report_table.check_labels(store.labels_N[rows_N], store, f"the {split} split")
    if split is not Split.TEST:
        return rows_N, None
    val_rows_N = split_table.rows(Split.VAL)
    report_table.check_labels(store.labels_N[val_rows_N], store, "the val split")
    is_calibration_N = np.arange(len(val_rows_N) + len(rows_N)) < len(val_rows_N)
    return np.concatenate([val_rows_N, rows_N]), is_calibration_N


def _untrained(
    rows_N: NDArray[np.int64], is_calibration_N: NDArray[np.bool_] | None, history: RowHistory
) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None, RowHistory, str]:
    """Leave out a validation split that would calibrate though it was trained on; say what follows."""
    if is_calibration_N is None:
        text = "so they calibrate nothing, and no calibration is kept" if history.trained_N.any() else ""
        return rows_N, None, history, text and f"patches among these were trained on, {text}"
    if not history.trained_N[is_calibration_N].any():
        return rows_N, is_calibration_N, history, ""
    text = "the validation split was trained on, so it cannot calibrate: a half of the test split does"
    return rows_N[~is_calibration_N], None, history.of(~is_calibration_N), text


def _divided(
    table: ScoredTable, is_calibration_N: NDArray[np.bool_] | None, store: Store, seed: int
) -> tuple[ScoredTable, str]:
    """Return the checked and divided table, and a notice of how it was divided where that matters."""
    report_table.check(table, store)
    if is_calibration_N is None:
        return report_table.divide(table, seed)
    return replace(table, is_calibration_N=is_calibration_N, apart=True), ""


def _rows(table: ScoredTable, store: Store, path: Path) -> NDArray[np.int64]:
    """Return the row of the store of each patch of a table."""
    rows_N, missing = locate(store.ids_N, table.ids_N)
    if missing:
        problem = f"names {len(missing)} of {len(table)} patches that {store} has not, the first '{missing[0]}'"
        raise DataError(path, problem, "give the store that was predicted, or none")
    return rows_N


def _check_origin(trained: TrainedRun, store: Store, *, named: bool) -> str:
    """Refuse other data than the run was trained on, or say so in a notice where the store was named."""
    difference = trained.differs(store)
    if difference is None:
        return ""
    what, result, wanted = difference
    if not named:
        remedy = f"restore it, or evaluate on it all the same with: {command_line('--store', store)}"
        raise CheckpointError(
            store, f"is not the {what} that the run was trained on: found {result}, wanted {wanted}", remedy
        )
    return f"this is not the {what} that the run was trained on (found {result}, wanted {wanted})"
