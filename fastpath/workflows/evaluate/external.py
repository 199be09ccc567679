"""Judge a run on another store than it was trained on: calibration and thresholds stay as they are, nothing is fitted.

What the reader of a validation elsewhere wants to know beside the measures (TRIPOD, Moons et al. 2015; van Calster et
al. 2019): whether patches were seen before, how far they look from the training set, and whether probabilities and
thresholds still hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics
from fastpath.analysis.intervals import Units
from fastpath.analysis.operating_points import MISS_COST
from fastpath.analysis.pixels import drift
from fastpath.analysis.pixels.appearance import MEASURES
from fastpath.errors import DataError, UsageError
from fastpath.runs import report_table
from fastpath.runs.patch_appearance import measure
from fastpath.runs.precision import newly_told, settle
from fastpath.runs.report_table import Floats, ScoredTable
from fastpath.runs.row_history import RowHistory
from fastpath.runs.row_lookup import history_of, training_rows
from fastpath.runs.score_views import score_views
from fastpath.runs.trained import CheckpointName, TrainedRun
from fastpath.runtime import Runtime
from fastpath.store.format import UNLABELLED
from fastpath.store.reader import Store
from fastpath.store.split_table import read_split
from fastpath.system.json_values import plain
from fastpath.types import Split
from fastpath.workflows.evaluate import frozen, report_files, report_gallery, subgroup_facts
from fastpath.workflows.evaluate.frozen import Frozen
from fastpath.workflows.evaluate.network_view import NetworkView
from fastpath.workflows.evaluate.report_about import about_run
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, Evaluation, evaluate_scores
from fastpath.workflows.evaluate.report_files import GALLERY_NUM, EvaluateResult

SAMPLE = 2000
"""Training patches whose pixels are looked at for the comparison."""


def is_other(trained: TrainedRun, store: Store) -> bool:
    """Return whether a store holds something else than the one that a run was trained on."""
    return store.fingerprint != trained.checkpoint.store_fingerprint


def rows_of(store: Store, split: Split | None) -> tuple[NDArray[np.int64], str]:
    """Return the labelled rows of a store, or of a part of it, and a notice of those without a label.

    Raises:
        DataError: None is labelled.
        StoreError: A part is wanted of a store that is not divided.
    """
    rows_N = np.arange(len(store)) if split is None else read_split(store).rows(split)
    labelled_N = store.labels_N[rows_N] != UNLABELLED
    if not labelled_N.any():
        problem = f"found no label among {len(rows_N)} patches, wanted labels to judge by"
        raise DataError(store, problem, "pack it with --labels, or use 'fastpath predict'")
    left_out = int((~labelled_N).sum())
    notice = f"{left_out} of {len(rows_N)} patches have no label and are left out" if left_out else ""
    return rows_N[labelled_N], notice


def directory_of(store: Store, split: Split | None) -> str:
    """Return the name of the directory within a run that a report of another store is written to."""
    name = re.sub(r"[^\w.-]+", "-", store.name).strip("-.") or "store"
    return f"external-{name}" + (f"-{split}" if split else "")


def validate_externally(
    trained: TrainedRun,
    store: Store,
    runtime: Runtime,
    output: Path,
    *,
    split: Split | None,
    checkpoint: CheckpointName,
    options: EvaluateOptions,
    advance: Callable[[int, int], None] | None = None,
) -> EvaluateResult:
    """Judge a run on another store and write the report; see `evaluate.evaluate_run`.

    Raises:
        DataError: The patches are unlabelled, of one class or of another size, or the run's calibration is damaged.
        StoreError: A part is wanted of a store that is not divided.
        UsageError: A calibration or a cost was asked for: those that the run keeps are used.
    """
    _refuse_choices(options)
    rows_N, unlabelled = rows_of(store, split)
    report_table.check_labels(store.labels_N[rows_N], store, "it" if split is None else f"the {split} split")
    subgroup_facts.check(options.by, store)
    at_home, history = frozen.read(trained, options.tta, options.mean), history_of(trained, store, rows_N)
    decided = settle(runtime, trained.config, training=False)
    views_NV = score_views(trained, store, rows_N, decided, options.tta, advance)
    table = report_table.scored(store, rows_N, views_NV, options.mean)
    table = replace(table, is_calibration_N=np.zeros(len(table), bool), elsewhere=True, history_N=history.words_N)
    report_table.check(table, store)
    evaluation, measures = evaluate_scores(table, options, at_home.chosen), measure(store, rows_N)
    evaluation.facts["external"] = plain(facts(trained, table, evaluation, at_home, history, measures, options.seed))
    logits_N, seed = evaluation.calibrated_N, options.seed
    evaluation.facts.update(
        subgroup_facts.facts(table, logits_N, store, rows_N, by=options.by, seed=seed, measures=measures)
    )
    about = about_run(
        trained,
        store,
        split=split,
        split_kind=None,
        checkpoint=checkpoint,
        options=options,
        history=history.facts(),
        notices=(*history.notices(), unlabelled, *at_home.notices, newly_told(decided, runtime)),
    )
    network = NetworkView(trained, store, runtime)
    cards = report_gallery.make(table, logits_N, store, rows_N, network, num=GALLERY_NUM, seed=seed)
    return report_files.write(output, scored=table, evaluation=evaluation, about=about, cards=cards)


def _refuse_choices(options: EvaluateOptions) -> None:
    """Refuse what would choose a calibration or a threshold: it would be passed over."""
    asked = {"--calibration": (options.method, EvaluateOptions().method), "--miss-cost": (options.miss_cost, MISS_COST)}
    for option, (given, usual) in asked.items():
        if given != usual:
            problem = f"found {given} for another store than the run's own, which is judged by what the run keeps"
            raise UsageError(option, problem, f"give {option} to 'fastpath evaluate' of the run's own store")


def facts(
    trained: TrainedRun,
    table: ScoredTable,
    evaluation: Evaluation,
    at_home: Frozen,
    history: RowHistory,
    measures: Mapping[str, Floats],
    seed: int,
) -> dict[str, Any]:
    """Return what a report of another store tells beside the measures.

    Args:
        trained: The run.
        table: The patches judged.
        evaluation: What was found out about them with the run's own calibration and thresholds.
        at_home: What the run brought along.
        history: What the run has done with these very patches.
        measures: What they look like (`patch_appearance.measure`).
        seed: Decides the resamples, and which training patches are looked at.
    """
    units = intervals.units_of(table.groups_N, len(table), table.labels_N)
    values: dict[str, Any] = {
        "fitted_on": at_home.fitted_on,
        "auc_before": (at_home.before or {}).get("auc"),
        "outcomes": _outcomes(at_home.before, evaluation.facts["operating_points"]),
        "seen": _seen(table, history),
        "prevalence": {"here": float((table.labels_N == 1).mean()), "training": None},
        "drift": [],
    }
    training = training_rows(trained)
    if training is not None:
        store, rows_M = training
        values["prevalence"]["training"] = float((store.labels_N[rows_M] == 1).mean())
        values["drift"] = _drift(store, rows_M, measures, units, seed)
    values["words"] = _words(values["prevalence"], training is not None)
    values["words"] += [shift["words"] for shift in values["drift"]]
    return values


def _seen(table: ScoredTable, history: RowHistory) -> dict[str, Any]:
    """Return how many patches the run has seen, and the AUC of the others where there are others."""
    seen_N = history.trained_N | history.slide_N | history.epoch_N
    rest_N, auc = ~seen_N, None
    if seen_N.any() and len(set(table.labels_N[rest_N].tolist())) == 2:
        auc = metrics.roc_auc(table.labels_N[rest_N], table.logits_N[rest_N])
    return history.facts() | {"num_seen": int(seen_N.sum()), "auc_of_others": auc}


def _drift(
    store: Store, rows_M: NDArray[np.int64], measures: Mapping[str, Floats], units: Units, seed: int
) -> list[dict[str, Any]]:
    """Return how far the patches look from training patches, measure by measure."""
    rng = np.random.Generator(np.random.Philox(seed))
    before = measure(store, np.sort(rng.permutation(rows_M)[:SAMPLE]))
    shifts = [
        drift.measure_shift(MEASURES[name], before[name], found_N, units, seed) for name, found_N in measures.items()
    ]
    return [asdict(shift) for shift in shifts if shift is not None]


def _words(prevalence: Mapping[str, float | None], at_hand: bool) -> list[str]:
    """Return in sentences how the shares of tumour compare, or that nothing tells."""
    here, there = prevalence["here"], prevalence["training"]
    if not at_hand:
        return ["the run's own store is not at hand, so how far these patches look from it is not told"]
    return [f"{here:.1%} of these patches have tumour, {there:.1%} of those trained on"]


def _outcomes(before: Mapping[str, Any] | None, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each operating point's sensitivity and specificity here, with those at home where they are known."""
    at_home = {point["name"]: point for point in (before or {}).get("operating_points", ())}
    names = ("sensitivity", "specificity")
    return [
        {
            "name": point["name"],
            "probability": point["probability"],
            **{name: point[name] for name in names},
            **{f"{name}_before": at_home.get(point["name"], {}).get(name) for name in names},
        }
        for point in points
    ]
