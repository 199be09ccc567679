"""The rows of a store that a run is made of, and the name of that choice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastpath.config import Config
from fastpath.data.order import stratified_subset
from fastpath.data.step_inputs import epoch_rows
from fastpath.engine.checkpoint import Provenance
from fastpath.errors import ConfigError, DataError
from fastpath.store.joined import JoinedStore
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import SplitTable, read_split
from fastpath.system.versions import versions
from fastpath.types import Samples, Split

CLASSES = ("normal", "tumour")


@dataclass(frozen=True, slots=True)
class RunData:
    """What a run trains and validates on.

    Attributes:
        store: The packed store.
        split: Its split.
        train_rows_N: int64, rows trained on.
        val_rows_N: int64, rows validated on.
        fingerprint: 16 hex digits that differ when any of the store's rows does.
        joined: The store and those of mined patches; None without a table of them. `train_rows_N` then counts through
            all of them.
        weights_N: float64, how often each training row is drawn, relative to the others; None is equally often.
        extra_fingerprint: Of that table; empty without one.
        extra_notice: What the reader of validation scores must know of it; empty where nothing.
    """

    store: Store
    split: SplitTable
    train_rows_N: np.ndarray
    val_rows_N: np.ndarray
    fingerprint: str
    joined: JoinedStore | None = None
    weights_N: np.ndarray | None = None
    extra_fingerprint: str = ""
    extra_notice: str = ""

    @property
    def patches(self) -> Store | JoinedStore:
        """What both kinds of rows count through."""
        return self.joined or self.store

    @property
    def train(self) -> Samples:
        """What is trained on."""
        return Samples(self.patches, self.train_rows_N, self.split.stats, self.weights_N)

    @property
    def val(self) -> Samples:
        """What is validated on."""
        return Samples(self.patches, self.val_rows_N, self.split.stats)

    def order(self, config: Config, epoch: int) -> np.ndarray:
        """Return the rows of an epoch in the order they are trained on, int64."""
        return epoch_rows(self.train, config, epoch)


def open_run_data(
    store_path: Path, config: Config, split: SplitTable | None = None, *, split_file: Path | None = None
) -> RunData:
    """Open a store and choose the rows that a configuration trains and validates on; see `run_data_of`.

    Args:
        store_path: The store.
        config: Its limits decide.
        split: A division of the store; None reads that of the file.
        split_file: Where the division lies; None is in the store.

    Raises:
        StoreError: There is no store.
    """
    return run_data_of(open_store(store_path, split_file=split_file), config, split)


def run_data_of(store: Store, config: Config, split: SplitTable | None = None) -> RunData:
    """Choose the rows of a store that a configuration trains and validates on.

    Args:
        store: The store.
        config: Its limits decide; its table of mined patches is not read here.
        split: A division of the store; None reads the store's own.

    Raises:
        StoreError: The store has no split.
        DataError: A part is empty or holds unlabelled patches.
        ConfigError: A limit that cannot be drawn.
    """
    split = split or read_split(store)
    train_rows_N = _rows(store, split, Split.TRAIN, config.data.limit, config.seed)
    val_rows_N = _rows(store, split, Split.VAL, config.data.val_limit, config.seed)
    if config.train.include_val:
        every_val_row_N = _rows(store, split, Split.VAL, 0, config.seed)
        train_rows_N = np.sort(np.concatenate([train_rows_N, every_val_row_N]))
    digest = hashlib.sha256()
    for rows_N in (train_rows_N, val_rows_N):
        digest.update(len(rows_N).to_bytes(8, "little") + rows_N.astype("<i8").tobytes())
    return RunData(store, split, train_rows_N, val_rows_N, digest.hexdigest()[:16])


def check_classes(data: RunData) -> None:
    """Refuse to train or validate on one class: nothing is learned of the other, and no AUC tells how well.

    Raises:
        DataError: All patches of the training or the validation part have one label.
    """
    for part, rows_N in ((Split.TRAIN, data.train_rows_N), (Split.VAL, data.val_rows_N)):
        classes = np.unique(data.patches.labels_N[rows_N])
        if len(classes) < 2:
            problem = (
                f"found {len(rows_N)} patches of label {classes[0]} alone in the {part} split, wanted both classes"
            )
            remedy = "divide it anew with 'fastpath split', or pack patches of both classes"
            raise DataError(data.store.path, problem, remedy)


def origin_of(data: RunData, config: Config) -> Provenance:
    """Return what a run on these rows with this configuration is made of."""
    about = data.store.manifest.source
    return Provenance(
        config=config.to_dict(),
        store_fingerprint=data.store.fingerprint,
        split_fingerprint=data.fingerprint,
        mean_3=data.split.mean_3,
        std_3=data.split.std_3,
        patch_size_px=data.store.patch_size_px,
        classes=(str(about.get("class_0", CLASSES[0])), str(about.get("class_1", CLASSES[1]))),
        software=versions(),
        extra_fingerprint=data.extra_fingerprint,
        stain=data.store.stain,
    )


def _rows(store: Store, split: SplitTable, part: Split, limit: int, seed: int) -> np.ndarray:
    """Return the rows of one part, or a stratified draw of `limit` of them; all must be labelled."""
    rows_N = split.rows(part)
    labels_N = store.labels_N[rows_N]
    if len(rows_N) == 0 or (labels_N < 0).any():
        problem = f"{(labels_N < 0).sum()} unlabelled patches" if len(rows_N) else "no patches"
        raise DataError(
            store,
            f"found {problem} in the {part} split, wanted labelled ones",
            "write another with 'fastpath split'",
        )
    try:
        return rows_N[stratified_subset(labels_N, limit, seed)]
    except ValueError as error:  # scikit-learn says what is wrong with the number
        key = "data.limit" if part is Split.TRAIN else "data.val_limit"
        raise ConfigError(key, f"found {limit}, which cannot be drawn ({error})", "choose a larger number") from None
