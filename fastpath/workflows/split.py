"""Divide a store into training and validation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastpath.errors import FastpathError, UsageError
from fastpath.ingest.split import add_groups, leak_notice, write_split, write_split_from_csv
from fastpath.runs import output_place
from fastpath.store import format as fmt
from fastpath.store.reader import Store, open_store
from fastpath.store.split_document import SplitDocument, SplitKind
from fastpath.store.split_table import SplitTable
from fastpath.types import Split

SHARE_TOLERANCE = 0.02  # a division may hold so much more or less validation than was asked for, unremarked


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A division, counted.

    Attributes:
        store: The store.
        file: Where the division lies.
        kind: `random`, `group`, `site`, `csv` or `official`.
        seed: Seed of the deal.
        num_folds: Folds dealt, 0 for one division.
        fold: The fold that is validation.
        num_train: Training patches.
        num_val: Validation patches.
        num_test: Test patches: neither trained nor validated on.
        positive_train: Share of positives among training patches.
        positive_val: Share of positives among validation patches.
        positive_test: Share of positives among test patches.
        groups_train: Groups with training patches, 0 where unknown.
        groups_val: Groups with validation patches, 0 where unknown.
        groups_test: Groups with test patches, 0 where unknown.
        share_val: Share of patches that is validation.
        share_test: Share of patches that is test.
        notice: What a score of this division cannot be trusted for, or how far off the wanted shares it is; empty
            where all is well.
    """

    store: Path
    file: Path
    kind: str
    seed: int
    num_folds: int
    fold: int
    num_train: int
    num_val: int
    num_test: int
    positive_train: float
    positive_val: float
    positive_test: float
    groups_train: int
    groups_val: int
    groups_test: int
    share_val: float
    share_test: float
    notice: str


def split_store(
    path: Path,
    *,
    kind: SplitKind | None = None,
    val: float = 0.2,
    test: float = 0.0,
    folds: int = 0,
    fold: int = 0,
    seed: int = 42,
    table: Path | None = None,
    groups: Path | None = None,
    output: Path | None = None,
) -> SplitResult:
    """Divide a store and keep the division in it, or elsewhere; see `fastpath.ingest.split.write_split`.

    Args:
        path: The store.
        kind: `random`, `group`, `site`, `csv` or `official`; None chooses `group` where slides are known.
        val: Share of patches for validation.
        test: Share of patches to keep apart as a test split.
        folds: Number of folds, 0 for one division.
        fold: The fold that is validation.
        seed: Decides the deal.
        table: The CSV of `id,split` for kind `csv`.
        groups: A table of `id,wsi`, the slides of a store whose index names none; the division keeps them.
        output: The file to write; None is the store's own.

    Raises:
        StoreError: `path` is not a store.
        DataError: The store cannot be divided so, or the groups are not as they should be.
        UsageError: The file would be written over something else, or cannot be written.
    """
    store = open_store(path)
    if output is not None:
        check_output(output, store, (table, groups))
    if groups is not None:
        store = add_groups(store, groups)
    if output is not None:
        output_place.make_parent(output)
        known_N, store = store.groups_N, store.with_split(output)
        store = store if known_N is None else store.with_groups(known_N)  # else those of an older file of that name
    if table is not None:
        return _count(store, write_split_from_csv(store, table))
    written = write_split(store, kind, val=val, test=test, folds=folds, fold=fold, seed=seed)
    return _count(store, written, val=0.0 if folds or kind in ("official", "site") else val, test=test)


def check_output(output: Path, store: Store, inputs: Sequence[Path | None]) -> None:
    """Refuse to write a split over anything but a split.

    Raises:
        UsageError: Naming what is there.
    """
    output_place.check_file(output, (store.path, *inputs))
    if os.path.lexists(output):
        try:
            fmt.load_document(output, SplitDocument, bytes_max=output.stat().st_size, follow=True)
        except (FastpathError, OSError):
            problem = "found something other than a split, which would be overwritten"
            raise UsageError(output, problem, "choose another -o") from None


def _count(store: Store, table: SplitTable, val: float = 0.0, test: float = 0.0) -> SplitResult:
    """Count a division; `val` and `test` are the shares that were asked for, 0 where none was."""
    rows = {part: table.rows(part) for part in Split}
    shares = {part: len(rows[part]) / len(store) for part in Split}
    off = _off_notice({"validation": (shares[Split.VAL], val), "test": (shares[Split.TEST], test)})
    leaks = [leak_notice(store, table, part) for part in (Split.VAL, Split.TEST) if len(rows[part])]
    groups = {part: 0 if store.groups_N is None else len(set(store.groups_N[rows[part]])) for part in Split}
    return SplitResult(
        store=store.path,
        file=store.split_path,
        kind=table.kind,
        seed=table.seed,
        num_folds=table.num_folds,
        fold=table.fold,
        num_train=len(rows[Split.TRAIN]),
        num_val=len(rows[Split.VAL]),
        num_test=len(rows[Split.TEST]),
        positive_train=_share(store.labels_N[rows[Split.TRAIN]]),
        positive_val=_share(store.labels_N[rows[Split.VAL]]),
        positive_test=_share(store.labels_N[rows[Split.TEST]]),
        groups_train=groups[Split.TRAIN],
        groups_val=groups[Split.VAL],
        groups_test=groups[Split.TEST],
        share_val=shares[Split.VAL],
        share_test=shares[Split.TEST],
        notice="; ".join(filter(None, [off, *leaks[:1]])),
    )


def _off_notice(parts: Mapping[str, tuple[float, float]]) -> str:
    """Say so where whole groups could not be dealt to the shares that were asked for: found and wanted, 0 for none."""
    off = [
        f"{name} holds {part:.1%} of the patches, not {wanted:.1%}"
        for name, (part, wanted) in parts.items()
        if wanted and abs(part - wanted) > SHARE_TOLERANCE
    ]
    return f"{' and '.join(off)}: groups are dealt whole, in equal folds" if off else ""


def _share(labels_N: np.ndarray) -> float:
    return float((labels_N == 1).mean()) if len(labels_N) else 0.0
