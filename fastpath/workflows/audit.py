"""Find validation patches that resemble training patches: what a network may have seen before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastpath.analysis.pixels import neighbours
from fastpath.analysis.pixels.eda import CLASS_WORDS
from fastpath.errors import DataError
from fastpath.figures import patch_figures
from fastpath.figures.patch_figures import Row
from fastpath.runs import output_place
from fastpath.runs.inference import trunk_features
from fastpath.runs.trained import CheckpointName, open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.system import json_values
from fastpath.text import to_csv
from fastpath.types import Split

Advance = Callable[[int, int], None]

TABLE, SHEET, FACTS = "neighbours.csv", "neighbours.png", "audit.json"
SUSPICIOUS = 0.9  # correlation of pixels: the same tissue, scanned or saved again, turned or brightened
NEIGHBOURS = 3  # whose pixels are compared: the nearest in features is not always the likest
_CHUNK = 1024
_SHEET_PAIRS = 24


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What was found.

    Attributes:
        output: Where neighbours.csv, neighbours.png and audit.json lie.
        store: The store.
        split_kind: How it is divided.
        features: What nearness was of: `perceptual hash`, or the run's trunk.
        num_val: Validation patches.
        num_train: Training patches.
        suspicious: Validation patches of which a training neighbour has nearly the same pixels.
        identical: Of these, pixel for pixel.
        other_label: Of the suspicious, those whose neighbour has another label.
        same_slide: Share of validation patches whose nearest training patch is of their own slide; None where slides
            are unknown.
        median_similarity: Cosine similarity to the nearest training patch, the median over validation patches.
    """

    output: Path
    store: Path
    split_kind: str
    features: str
    num_val: int
    num_train: int
    suspicious: int
    identical: int
    other_label: int
    same_slide: float | None
    median_similarity: float


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Each validation patch with the training patch most like it: rows of the store, and how alike they are."""

    val_rows_N: np.ndarray
    train_rows_N: np.ndarray
    nearest_rows_N: np.ndarray
    similarity_N: np.ndarray
    correlation_N: np.ndarray


def audit_split(
    store_path: Path,
    output: Path,
    runtime: Runtime,
    *,
    split_file: Path | None = None,
    run_dir: Path | None = None,
    checkpoint: CheckpointName = "best",
    advance: Advance | None = None,
) -> AuditResult:
    """Write every validation patch's nearest training patch, the likest first, and a sheet of the likest pairs.

    Args:
        store_path: A store with a split.
        output: The directory to write to.
        runtime: Device and precision.
        split_file: Where its split lies; None is in the store.
        run_dir: A run whose trunk gives the features; None takes the perceptual hashes of the store.
        checkpoint: The best epoch's weights or the last's.
        advance: Called with patches embedded and in all.

    Raises:
        StoreError: There is no store, or it has no split.
        DataError: A part is empty, or the run was trained on patches of another size.
    """
    output_place.check_directory(output, FACTS, (store_path, run_dir))
    store = open_store(store_path, split_file=split_file)
    split = read_split(store)
    val_N, train_N = split.rows(Split.VAL), split.rows(Split.TRAIN)
    if not len(val_N) or not len(train_N):
        problem = f"found {len(train_N)} training and {len(val_N)} validation patches, wanted both"
        raise DataError(store_path, problem, "divide it with 'fastpath split'")
    both_N = np.concatenate([val_N, train_N])
    if run_dir is None:
        features_ND = neighbours.hash_features(store.column("phash")[both_N])
    else:
        features_ND = trunk_features(open_run(run_dir, checkpoint), store, both_N, runtime, advance)
    pairs = _pairs(store, val_N, train_N, features_ND)
    hashes_N, labels_N, groups_N = store.column("hash"), store.labels_N, store.groups_N
    suspicious_N = pairs.correlation_N >= SUSPICIOUS
    identical_N = hashes_N[val_N] == hashes_N[pairs.train_rows_N]
    result = AuditResult(
        output=output,
        store=Path(str(store)),
        split_kind=split.kind,
        features="perceptual hash" if run_dir is None else f"trunk of {run_dir.resolve().name}",
        num_val=len(val_N),
        num_train=len(train_N),
        suspicious=int((suspicious_N | identical_N).sum()),
        identical=int(identical_N.sum()),
        other_label=int(((suspicious_N | identical_N) & (labels_N[val_N] != labels_N[pairs.train_rows_N])).sum()),
        same_slide=None if groups_N is None else float((groups_N[val_N] == groups_N[pairs.nearest_rows_N]).mean()),
        median_similarity=float(np.median(pairs.similarity_N)),
    )
    _write(output, store, pairs, result)
    return result


def _pairs(store: Store, val_N: np.ndarray, train_N: np.ndarray, features_ND: np.ndarray) -> _Pairs:
    """Take of each patch's nearest neighbours the one whose pixels are likest."""
    place_NK, similarity_NK = neighbours.nearest(features_ND[: len(val_N)], features_ND[len(val_N) :], NEIGHBOURS)
    correlation_NK = np.empty(place_NK.shape, np.float32)
    for start in range(0, len(val_N), _CHUNK):
        at = slice(start, start + _CHUNK)
        asked = store.gather(val_N[at])
        for number in range(place_NK.shape[1]):
            other = store.gather(train_N[place_NK[at, number]])
            correlation_NK[at, number] = neighbours.pixel_correlation(asked, other)
    best_N = correlation_NK.argmax(axis=1)
    every_N = np.arange(len(val_N))
    return _Pairs(
        val_rows_N=val_N,
        train_rows_N=train_N[place_NK[every_N, best_N]],
        nearest_rows_N=train_N[place_NK[:, 0]],
        similarity_N=similarity_NK[:, 0],
        correlation_N=correlation_NK[every_N, best_N],
    )


def _write(output: Path, store: Store, pairs: _Pairs, result: AuditResult) -> None:
    """Write the table, the sheet and the facts as a set."""
    order_N = np.argsort(-pairs.correlation_N, kind="stable")
    ids_N, labels_N = store.ids_N, store.labels_N
    groups_N = np.full(len(store), "", object) if store.groups_N is None else store.groups_N
    sides = ("id", "label", "group", "train_id", "train_label", "train_group")
    table = []
    for at in order_N:
        rows = (pairs.val_rows_N[at], pairs.train_rows_N[at])
        facts = [value for row in rows for value in (ids_N[row], int(labels_N[row]), groups_N[row])]
        table.append((*facts, f"{pairs.correlation_N[at]:.4f}", f"{pairs.similarity_N[at]:.4f}"))
    top_N = order_N[:_SHEET_PAIRS]
    rows_N = np.stack([pairs.val_rows_N[top_N], pairs.train_rows_N[top_N]], axis=1).ravel()
    captions = [
        text
        for at in top_N
        for text in (
            f"val {ids_N[pairs.val_rows_N[at]][:10]} {CLASS_WORDS[int(labels_N[pairs.val_rows_N[at]])]}",
            f"train {ids_N[pairs.train_rows_N[at]][:10]} {CLASS_WORDS[int(labels_N[pairs.train_rows_N[at]])]}, "
            f"r = {pairs.correlation_N[at]:.2f}",
        )
    ]
    sheet = Row("", store.gather(rows_N), captions)
    scale = max(1, 192 // store.patch_size_px)  # wide enough for its captions
    document = {key: value for key, value in asdict(result).items() if key != "output"}
    content = {
        TABLE: to_csv((*sides, "pixel_correlation", "similarity"), table),
        SHEET: patch_figures.contact_sheet([sheet], 6, scale=scale, centre=True),
        FACTS: (json_values.dumps(document | {"store": result.store.resolve().name}) + "\n").encode(),
    }
    output_place.write_set(output, FACTS, content)
