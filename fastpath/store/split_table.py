"""A split, ready to use: which rows of a store are trained on, validated on or kept apart, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpath.errors import StoreError, UsageError
from fastpath.store.split_document import (
    CODES,
    LEFT_OUT,
    NUMBERS,
    TEST,
    SplitDocument,
    SplitKind,
    in_digits,
    read_document,
)
from fastpath.store.writer import channel_moments
from fastpath.text import command_line
from fastpath.types import ChannelStats, Samples, Split

if TYPE_CHECKING:
    from fastpath.store.reader import Store


@dataclass(frozen=True, slots=True)
class SplitTable:
    """A split, ready to use.

    Attributes:
        kind: `random`, `group`, `site`, `csv` or `official`.
        seed: Seed of the deal.
        fold: The fold that is validation.
        num_folds: Folds dealt, 0 for a single division.
        mean_3: Exact channel means over the training rows, units of 0 to 1.
        std_3: Exact channel standard deviations over the training rows, units of 0 to 1.
        codes_N: uint8, the ASCII codes of `SplitDocument.rows`.
    """

    kind: str
    seed: int
    fold: int
    num_folds: int
    mean_3: tuple[float, float, float]
    std_3: tuple[float, float, float]
    codes_N: np.ndarray

    def rows(self, split: Split) -> np.ndarray:
        """Return the store's rows of one part, int64, ascending."""
        return np.flatnonzero(self.codes_N == ord(CODES[split])).astype(np.int64)

    @property
    def stats(self) -> ChannelStats:
        """What patches are normalised with: of the training part."""
        return ChannelStats(self.mean_3, self.std_3)


def samples_of(store: Store, part: Split | str, fold: int | None = None) -> Samples:
    """Return one part of a store's split; see `Store.split`."""
    if part not in set(Split):
        raise UsageError("split", f"found '{part}', wanted train, val or test", "name one of the three parts")
    table = read_split(store, fold)
    return Samples(store, table.rows(Split(part)), table.stats)


def read_split(store: Store, fold: int | None = None) -> SplitTable:
    """Read the split that a store was opened with.

    Args:
        store: The store.
        fold: Which fold is validation; None takes the one the split was written with.

    Raises:
        StoreError: There is none, it is damaged, it belongs to another store, or it has no such fold.
    """
    document = read_document(store)
    if fold is not None and fold != document.fold:
        if not 0 <= fold < document.num_folds:
            problem = f"found {document.num_folds} folds, wanted fold {fold}"
            elsewhere = () if store.split_file is None else ("-o", store.split_file)
            remedy = f"run: {command_line('fastpath', 'split', store.path, *elsewhere)} --folds K"
            raise StoreError(store.split_path, problem, remedy)
        folds_N = np.array([NUMBERS[digit] for digit in document.folds])
        shares = {"val": document.val, "test": document.test}
        document = document_of_folds(store, document.kind, document.seed, shares, fold=fold, folds_N=folds_N)
    return table_of(document)


def table_of(document: SplitDocument) -> SplitTable:
    """Return a document ready to use."""
    return SplitTable(
        kind=document.kind,
        seed=document.seed,
        fold=document.fold,
        num_folds=document.num_folds,
        mean_3=document.mean_3,
        std_3=document.std_3,
        codes_N=np.frombuffer(document.rows.encode("ascii"), dtype=np.uint8),
    )


def document_of_folds(
    store: Store,
    kind: SplitKind,
    seed: int,
    shares: Mapping[str, float],
    *,
    fold: int,
    folds_N: np.ndarray,
    single: bool = False,
) -> SplitDocument:
    """Return the document of a deal into folds.

    Args:
        store: What was dealt.
        kind: How.
        seed: Of the deal.
        shares: What was asked for as `val` and as `test`.
        fold: The fold that is validation.
        folds_N: int [N], each row's fold, or `LEFT_OUT` or `TEST`.
        single: Whether one division was asked for, so that no folds are kept.
    """
    codes_N = np.where(folds_N == fold, ord("v"), ord("t")).astype(np.uint8)
    codes_N[folds_N == LEFT_OUT], codes_N[folds_N == TEST] = ord("-"), ord(CODES[Split.TEST])
    document = document_of_codes(store, kind, codes_N, seed=seed, **shares)
    if single:
        return document
    letters = {number: letter for letter, number in NUMBERS.items()}
    digits = "".join(letters[number] for number in folds_N.tolist())
    return document.model_copy(update={"fold": fold, "num_folds": int(folds_N.max()) + 1, "folds": digits})


def document_of_codes(
    store: Store, kind: SplitKind, codes_N: np.ndarray, *, seed: int, val: float, test: float = 0.0
) -> SplitDocument:
    """Return the document of a division, with the exact statistics of its training part.

    Args:
        store: What was divided.
        kind: How.
        codes_N: uint8 [N], the ASCII codes of `SplitDocument.rows`.
        seed: Of the deal.
        val: Share asked for as validation.
        test: Share asked for as test.
    """
    train_N = codes_N == ord("t")
    pixels = store.manifest.patch_shape[0] * store.manifest.patch_shape[1]
    mean_3, std_3 = channel_moments(store.sums_N3[train_N], store.squares_N3[train_N], pixels)
    return SplitDocument(
        store=store.fingerprint,
        kind=kind,
        seed=seed,
        val=val,
        test=test,
        fold=0,
        num_folds=0,
        mean_3=mean_3,
        std_3=std_3,
        rows=codes_N.tobytes().decode("ascii"),
        folds="",
        **_groups_beside(store),
    )


def _groups_beside(store: Store) -> dict[str, Any]:
    """Return the slides that the store's index does not name, as a split's file keeps them; else nothing."""
    if store.manifest.num_groups or store.groups_N is None:
        return {}
    names, of_N = np.unique(store.groups_N.astype(str), return_inverse=True)
    return {"groups": names.tolist(), "group_rows": in_digits(of_N.tolist(), len(names))}
