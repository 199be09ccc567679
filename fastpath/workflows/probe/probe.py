"""Train a logistic head on features and judge it as a trained run is judged."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.errors import DataError
from fastpath.ingest.split import leak_notice
from fastpath.runs import output_place, report_table
from fastpath.runs.report_table import ScoredTable
from fastpath.runs.row_history import HELD_OUT, SLIDE, of_words
from fastpath.store.columns import locate
from fastpath.store.features import Features, open_features
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.system.json_values import plain
from fastpath.types import Split
from fastpath.workflows.evaluate import report_files, report_gallery
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, Evaluation, evaluate_scores
from fastpath.workflows.evaluate.report_files import GALLERY_NUM, METRICS, EvaluateResult
from fastpath.workflows.evaluate.report_gallery import Card
from fastpath.workflows.probe.linear_head import LinearHead, fit_head

HEAD, PROBE = "head.safetensors", "probe.json"
UNSEEN = (
    "nothing here tells what the encoder was trained on: where it has seen these patches, or others of their slides, "
    "figures are optimistic"
)


@dataclass(frozen=True, slots=True)
class Division:
    """Rows by part, and what is to be said of how they were dealt.

    Attributes:
        kind: How.
        parts_N: object, `train`, `val`, `test` or None.
        groups_N: Slides; None where unknown.
        leaks: By part, what its scores cannot be trusted for; empty where nothing.
        store: The store that was named; None without one.
    """

    kind: str
    parts_N: NDArray[np.object_]
    groups_N: NDArray[np.object_] | None
    leaks: dict[str, str]
    store: Store | None

    def rows(self, part: Split) -> NDArray[np.int64]:
        """Return the rows of a part."""
        return np.flatnonzero(self.parts_N == str(part)).astype(np.int64)


def probe_features(
    path: Path,
    output: Path,
    *,
    store_path: Path | None = None,
    split_file: Path | None = None,
    split: Split | None = None,
    seed: int = 42,
) -> EvaluateResult:
    """Write an evaluation of a head on features: what `evaluate` writes, with head.safetensors and probe.json.

    The head is fitted on the training split, its penalty chosen by inner folds of that split, so that no patch that is
    judged has chosen anything. The test split is judged where there is one, calibrated on the validation split;
    otherwise the validation split, a half of which calibrates.

    Args:
        path: From `fastpath embed`.
        output: The directory.
        store_path: The store, for the gallery, and for its split in place of the one that it had when it was embedded.
        split_file: Where that split lies; None is in the store.
        split: `val` or `test`; None is `test` where there is one.
        seed: Decides folds, halves and resamples.

    Raises:
        UsageError: The directory cannot be written to, or the features are not whole.
        DataError: There is no split, a part lacks labels or a class, or the store is another.
    """
    output_place.check_directory(output, METRICS, (path, store_path))
    features = open_features(path)
    division = divide(features, path, store_path, split_file)
    evaluated = split or (Split.TEST if len(division.rows(Split.TEST)) else Split.VAL)
    labels_N = features.rows["label"].to_numpy(np.int8)
    for part in {Split.TRAIN, Split.VAL, evaluated}:
        report_table.check_labels(labels_N[division.rows(part)], path, f"the {part} split")
    features_ND, train_N, groups_N = features.read(), division.rows(Split.TRAIN), division.groups_N
    head = fit_head(features_ND[train_N], labels_N[train_N], None if groups_N is None else groups_N[train_N], seed)
    table, dealt = _table(features, features_ND, head, division, evaluated, path, seed)
    assert table.history_N is not None
    evaluation = evaluate_scores(table, EvaluateOptions(seed=seed))
    cards = _gallery(table, evaluation, division.store, seed)
    val_N = division.rows(Split.VAL)
    facts = _facts(features, head, train_N) | {
        "validation_auc": metrics.roc_auc(labels_N[val_N], head.logits(features_ND[val_N]))
    }
    notices = [division.leaks.get(str(evaluated), ""), *head.notices, dealt, UNSEEN]
    about = {
        "split": evaluated,
        "store": features.manifest.origin.store,
        "store_fingerprint": features.manifest.origin.store_fingerprint,
        "split_kind": division.kind,
        "tta_views": "none",
        "encoder": features.manifest.origin.model,
        "history": of_words(table.history_N[table.judged_N]).facts() | {"auc_optimism": None},
        "notices": [notice for notice in notices if notice],
        "probe": facts,
    }
    more = {HEAD: _head_bytes(head), PROBE: (json.dumps(plain(facts), indent=2) + "\n").encode()}
    return report_files.write(output, scored=table, evaluation=evaluation, about=about, cards=cards, more=more)


def divide(features: Features, path: Path, store_path: Path | None, split_file: Path | None) -> Division:
    """Return how rows are divided: as the store that is named is, else as it was when it was embedded.

    Raises:
        DataError: There is no split, or the store is another.
    """
    rows, manifest = features.rows, features.manifest
    groups_N = rows["group"].to_numpy(object) if bool(rows["group"].notna().all()) else None
    if store_path is None:
        if split_file is not None:
            raise DataError("--split-file", "found no --store that it divides", "give the store that was embedded")
        if manifest.split is None:
            raise DataError(
                path, "found no split, wanted training and validation patches", "give --store, once divided"
            )
        leaks = {str(part): text for part, text in manifest.split.leaks.items()}
        return Division(manifest.split.kind, rows["part"].to_numpy(object), groups_N, leaks, None)
    store = open_store(store_path, split_file=split_file)
    if store.fingerprint != manifest.origin.store_fingerprint:
        problem = f"is not the store that was embedded: found {store.fingerprint}"
        raise DataError(store, f"{problem}, wanted {manifest.origin.store_fingerprint}", "embed this one")
    table, parts_N = read_split(store), np.full(len(store), None, object)
    for part in Split:
        parts_N[table.rows(part)] = str(part)
    leaks = {str(part): leak_notice(store, table, part) for part in Split if len(table.rows(part))}
    return Division(table.kind, parts_N, store.groups_N if store.groups_N is not None else groups_N, leaks, store)


def _table(
    features: Features,
    features_ND: NDArray[np.float32],
    head: LinearHead,
    division: Division,
    evaluated: Split,
    path: Path,
    seed: int,
) -> tuple[ScoredTable, str]:
    """Return the divided table of the patches that are scored, and a notice of how it was divided."""
    val_N, frame = division.rows(Split.VAL), features.rows
    rows_N = val_N if evaluated is Split.VAL else np.concatenate([val_N, division.rows(evaluated)])
    table = ScoredTable(
        ids_N=frame["id"].to_numpy(object)[rows_N],
        labels_N=frame["label"].to_numpy(np.int8)[rows_N],
        logits_N=head.logits(features_ND[rows_N]),
        groups_N=None if division.groups_N is None else division.groups_N[rows_N],
        history_N=_words(division, rows_N),
    )
    report_table.check(table, path)
    if evaluated is Split.VAL:
        return report_table.divide(table, seed)
    return replace(table, is_calibration_N=np.arange(len(rows_N)) < len(val_N), apart=True), ""


def _words(division: Division, rows_N: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return what the head has done with rows: none of them was trained on, some may be of slides that were."""
    words_N = np.full(len(rows_N), HELD_OUT, object)
    if division.groups_N is not None:
        seen = set(division.groups_N[division.rows(Split.TRAIN)].tolist())
        words_N[[group in seen for group in division.groups_N[rows_N].tolist()]] = SLIDE
    return words_N


def _gallery(table: ScoredTable, evaluation: Evaluation, store: Store | None, seed: int) -> list[Card]:
    if store is None:
        return []
    places_N, _ = locate(store.ids_N, table.ids_N)
    return report_gallery.make(table, evaluation.calibrated_N, store, places_N, None, num=GALLERY_NUM, seed=seed)


def _facts(features: Features, head: LinearHead, train_N: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "features": features.manifest.origin.model_dump(),
        "licence": features.manifest.licence,
        "num_features": features.manifest.num_features,
        "num_train": len(train_N),
        "penalty": head.penalty,
        "log_loss_by_penalty": {f"{penalty:g}": loss for penalty, loss in head.losses.items()},
    }


def _head_bytes(head: LinearHead) -> bytes:
    """Return the head as timm's networks have theirs: weight float32 [1, D] and bias [1]."""
    from safetensors.numpy import save

    weight_1D, bias_1 = head.weight_D[None].astype(np.float32), np.array([head.bias], np.float32)
    return save({"weight": weight_1D, "bias": bias_1})
