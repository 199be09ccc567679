"""Measure a trained run on one part of a store, and write down every prediction."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import figures, metrics
from fastpath.analysis.metrics import Confusion
from fastpath.errors import CheckpointError, DataError
from fastpath.ingest.split import leak_notice, read_split
from fastpath.runtime import Runtime
from fastpath.shards.format import write_durably
from fastpath.shards.reader import Store
from fastpath.types import Split
from fastpath.workflows.run_data import open_run_data
from fastpath.workflows.trained import TrainedRun, Which, open_run, score

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """How good a run is on a split.

    Attributes:
        split: The part of the store.
        num_patches: Patches in it.
        num_positive: Of these, labelled 1.
        auc: Area under the ROC curve.
        average_precision: Area under precision over recall, as scikit-learn counts it.
        accuracy: Share called right at `threshold`.
        log_loss: Mean binary cross-entropy, in nats.
        threshold: On the probability.
        confusion: Counts of decisions at `threshold`.
        checkpoint: `best` or `last`.
        epoch: Epochs the weights were trained for.
        store: The store.
        store_fingerprint: Its content.
        split_kind: How the store was divided.
        notices: What the reader of the numbers should know.
        output: Where metrics.json, predictions.csv and evaluation.png lie.
    """

    split: Split
    num_patches: int
    num_positive: int
    auc: float
    average_precision: float
    accuracy: float
    log_loss: float
    threshold: float
    confusion: Confusion
    checkpoint: Which
    epoch: int
    store: str
    store_fingerprint: str
    split_kind: str
    notices: list[str]
    output: str


def run(
    run_dir: Path,
    runtime: Runtime,
    *,
    store_path: Path | None = None,
    split: Split = Split.VAL,
    output: Path | None = None,
    which: Which = "best",
    advance: Callable[[int, int], None] | None = None,
) -> EvaluateResult:
    """Score a labelled split and write metrics.json, predictions.csv and evaluation.png.

    Args:
        run_dir: A run directory, or a checkpoint's file.
        runtime: Device and precision.
        store_path: The store; None takes the run's own, which must be unchanged. A store that is named may be another.
        split: The part of the store.
        output: Where to write; None is `evaluation-<split>` in the run.
        which: The best epoch's weights or the last's.
        advance: Called with patches done and in all.

    Raises:
        CheckpointError: The run's own store or its split is not what the run was trained on.
        DataError: The split is empty, unlabelled, or of one class.
    """
    trained = open_run(run_dir, which)
    store = trained.open_store(store_path)
    table = read_split(store)
    notices = [_check_origin(trained, store, named=store_path is not None), leak_notice(store, table)]
    rows_N = table.rows(split)
    labels_N = store.labels_N[rows_N]
    _check_labels(store, split, labels_N)
    logits_N = score(trained, store, rows_N, runtime, advance)

    output = output or trained.path.parent / f"evaluation-{split}"
    result = EvaluateResult(
        split=split,
        num_patches=len(rows_N),
        num_positive=int((labels_N == 1).sum()),
        auc=metrics.roc_auc(labels_N, logits_N),
        average_precision=metrics.average_precision(labels_N, logits_N),
        accuracy=metrics.accuracy(labels_N, logits_N, THRESHOLD),
        log_loss=metrics.log_loss(labels_N, logits_N),
        threshold=THRESHOLD,
        confusion=metrics.confusion(labels_N, logits_N, THRESHOLD),
        checkpoint=which,
        epoch=trained.checkpoint.epoch,
        store=str(store.path),
        store_fingerprint=store.fingerprint,
        split_kind=table.kind,
        notices=[notice for notice in notices if notice],
        output=str(output),
    )
    _write(output, result, store.ids_N[rows_N], labels_N, logits_N)
    return result


def _check_origin(trained: TrainedRun, store: Store, *, named: bool) -> str:
    """Refuse other data than the run was trained on, or say so in a notice where the store was named.

    A store of the same content but divided anew counts as other data: its validation patches may have been
    trained on.
    """
    checkpoint = trained.checkpoint
    if store.fingerprint != checkpoint.store_fingerprint:
        what, found, wanted = "store", store.fingerprint, checkpoint.store_fingerprint
        told = "patches it shares with the run's own may have been trained on"
    else:
        found, wanted = open_run_data(store.path, trained.config).fingerprint, checkpoint.split_fingerprint
        if found == wanted:
            return ""
        what, told = "split", "it was dealt anew since, so these patches may have been trained on"
    if not named:
        remedy = f"restore it, or evaluate on it all the same with --store {store.path}"
        raise CheckpointError(
            store.path, f"is not the {what} that the run was trained on: found {found}, wanted {wanted}", remedy
        )
    return f"this is not the {what} that the run was trained on (found {found}, wanted {wanted}): {told}"


def _check_labels(store: Store, split: Split, labels_N: NDArray[np.int8]) -> None:
    """Refuse a part that cannot be measured before time is spent on it."""
    num_positive, num_negative = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    unlabelled = len(labels_N) - num_positive - num_negative
    if unlabelled or not num_positive or not num_negative:
        found = f"found {num_positive} positive, {num_negative} negative and {unlabelled} unlabelled patches"
        problem = f"{found} in the {split} split, wanted both classes and labels for all"
        raise DataError(store.path, problem, "choose another --split, or deal one with 'fastpath split'")


def _write(output: Path, result: EvaluateResult, ids_N: np.ndarray, labels_N: np.ndarray, logits_N: np.ndarray) -> None:
    """Write the three files, each whole or not at all; metrics.json last, so that its presence means all are there."""
    output.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "label", "logit", "probability"))
    probability_N = metrics.probabilities(logits_N)
    for name, label, logit, probability in zip(ids_N, labels_N, logits_N, probability_N, strict=True):
        writer.writerow(
            (name, int(label), f"{logit:.9g}", f"{probability:.9g}")
        )  # 9 digits: float32 comes back exactly
    write_durably(output / "predictions.csv", table.getvalue().encode())
    title = f"{result.split} split, {result.num_patches:,} patches, weights of epoch {result.epoch}"
    write_durably(output / "evaluation.png", figures.evaluation(labels_N, logits_N, title))
    values = {key: value for key, value in asdict(result).items() if key != "output"}
    write_durably(output / "metrics.json", (json.dumps(values, indent=2) + "\n").encode())
