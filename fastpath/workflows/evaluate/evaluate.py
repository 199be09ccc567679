"""Judge a trained run: how good, how sure, where to set the threshold, what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import CheckpointError, UsageError
from fastpath.ingest.split import leak_notice
from fastpath.runs import calibration_file, output_place, report_table
from fastpath.runs.precision import newly_told, settle
from fastpath.runs.report_table import ScoredTable
from fastpath.runs.row_history import RowHistory
from fastpath.runs.row_lookup import history_of
from fastpath.runs.score_views import score_views
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store
from fastpath.store.split_table import SplitTable, read_split
from fastpath.text import command_line
from fastpath.types import Split
from fastpath.workflows.evaluate import external, frozen, report_files, report_gallery, subgroup_facts
from fastpath.workflows.evaluate.network_view import NetworkView
from fastpath.workflows.evaluate.report_about import about_run, notices_and_facts, uncalibrated
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, Evaluation, evaluate_scores
from fastpath.workflows.evaluate.report_files import GALLERY_NUM, METRICS, PREDICTIONS, EvaluateResult

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
    store = trained.open_store(store_path, split_file)
    elsewhere = store_path is not None and external.is_other(trained, store)
    if not elsewhere:
        split = split or Split.VAL
    output = output or _place(trained, store, split, split_file, options, elsewhere=elsewhere)
    output_place.check_directory(output, METRICS, (run_dir, store_path))
    if elsewhere:
        return external.validate_externally(
            trained, store, runtime, output, split=split, checkpoint=checkpoint, options=options, advance=advance
        )
    return _validate(
        trained,
        store,
        runtime,
        output,
        split=split or Split.VAL,
        checkpoint=checkpoint,
        options=options,
        named=(store_path or split_file) is not None,
        advance=advance,
    )


def _place(
    trained: TrainedRun,
    store: Store,
    split: Split | None,
    split_file: Path | None,
    options: EvaluateOptions,
    *,
    elsewhere: bool,
) -> Path:
    """Return the directory within a run that a report is written to where none is named."""
    name = external.directory_of(store, split) if elsewhere else f"evaluation-{split}"
    name += calibration_file.suffix_of(trained.path, options.tta, options.mean)
    if split_file is not None and split_file.resolve() != trained.split_file:
        name += f"-{split_file.stem}"
    return trained.path.parent / name


def _validate(
    trained: TrainedRun,
    store: Store,
    runtime: Runtime,
    output: Path,
    *,
    split: Split,
    checkpoint: CheckpointName,
    options: EvaluateOptions,
    named: bool,
    advance: Advance | None,
) -> EvaluateResult:
    """Judge a run on a part of its own store, write the report and keep the calibration; see `evaluate_run`."""
    subgroup_facts.check(options.by, store)
    split_table = read_split(store)
    foreign = _check_origin(trained, store, named=named)
    part = _untrained(_part(trained, store, split_table, split))
    options = uncalibrated(options, part.history)
    decided = settle(runtime, trained.config, training=False)
    views_NV = score_views(trained, store, part.rows_N, decided, options.tta, advance)
    table, dealt = _divided(report_table.scored(store, part.rows_N, views_NV, options.mean), part, store, options.seed)
    evaluation = evaluate_scores(table, options)
    logits_N, seed, network = evaluation.calibrated_N, options.seed, NetworkView(trained, store, runtime)
    cards = report_gallery.make(table, logits_N, store, part.rows_N, network, num=GALLERY_NUM, seed=seed)
    evaluation.facts.update(subgroup_facts.facts(table, logits_N, store, part.rows_N, by=options.by, seed=seed))
    of_rows, facts = notices_and_facts(part.history.of(table.judged_N), evaluation)
    leaks = leak_notice(store, split_table, split)
    about = about_run(
        trained,
        store,
        split=split,
        split_kind=split_table.kind,
        checkpoint=checkpoint,
        options=options,
        history=facts,
        notices=(foreign, *of_rows, part.notice, leaks, dealt, newly_told(decided, runtime)),
    )
    result = report_files.write(output, scored=table, evaluation=evaluation, about=about, cards=cards)
    if not foreign and not part.history.trained_N.any():
        result.notices.extend(_keep_calibration(trained, table, evaluation, split, options, output))
    return result


def _keep_calibration(
    trained: TrainedRun,
    table: ScoredTable,
    evaluation: Evaluation,
    split: Split,
    options: EvaluateOptions,
    output: Path,
) -> list[str]:
    """Keep the calibration beside the checkpoint for `predict`; return what is to be said of that."""
    of = Split.VAL if table.apart else split
    fitted_on = {"split": split, "of": of, "seed": options.seed, **evaluation.facts["parts"]["calibration"]}
    cautions = [verdict["text"] for verdict in evaluation.facts["calibration"]["verdicts"] if verdict["caution"]]
    values = {"tta": options.tta, "mean": options.mean, "fitted_on": fitted_on, "cautions": cautions}
    values |= frozen.keep(evaluation.facts)
    try:
        replaced = calibration_file.save(trained.path, options.method, evaluation.fitted, values, output / PREDICTIONS)
    except UsageError as error:  # a run that others share may be for reading only
        return [f"the calibration is not kept for 'fastpath predict': {error}"]
    return [replaced] if replaced else []


@dataclass(frozen=True, slots=True)
class _Part:
    """The patches that are scored.

    Attributes:
        rows_N: int64, their rows of the store.
        is_calibration_N: bool, which of them calibrate; None leaves that to be dealt.
        history: What the run has done with them.
        notice: What follows from that for the calibration; empty where nothing does.
    """

    rows_N: NDArray[np.int64]
    is_calibration_N: NDArray[np.bool_] | None
    history: RowHistory
    notice: str = ""


def _part(trained: TrainedRun, store: Store, split_table: SplitTable, split: Split) -> _Part:
    """Return the patches of a split; of a test split, with the validation split that goes with it, which calibrates."""
    rows_N, is_calibration_N = split_table.rows(split), None
    report_table.check_labels(store.labels_N[rows_N], store, f"the {split} split")
    if split is Split.TEST:
        val_rows_N = split_table.rows(Split.VAL)
        report_table.check_labels(store.labels_N[val_rows_N], store, "the val split")
        is_calibration_N = np.arange(len(val_rows_N) + len(rows_N)) < len(val_rows_N)
        rows_N = np.concatenate([val_rows_N, rows_N])
    return _Part(rows_N, is_calibration_N, history_of(trained, store, rows_N))


def _untrained(part: _Part) -> _Part:
    """Leave out a validation split that would calibrate though it was trained on; say what follows."""
    trained_N, is_calibration_N = part.history.trained_N, part.is_calibration_N
    if is_calibration_N is None:
        text = "patches among these were trained on, so they calibrate nothing, and no calibration is kept"
        return replace(part, notice=text) if trained_N.any() else part
    if not trained_N[is_calibration_N].any():
        return part
    text = "the validation split was trained on, so it cannot calibrate: a half of the test split does"
    kept_N = ~is_calibration_N
    return _Part(part.rows_N[kept_N], None, part.history.of(kept_N), text)


def _divided(table: ScoredTable, part: _Part, store: Store, seed: int) -> tuple[ScoredTable, str]:
    """Return the checked and divided table, and a notice of how it was divided where that matters."""
    report_table.check(table, store)
    if part.is_calibration_N is None:
        table, notice = report_table.divide(table, seed)
    else:
        table, notice = replace(table, is_calibration_N=part.is_calibration_N, apart=True), ""
    return replace(table, history_N=part.history.words_N), notice


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
