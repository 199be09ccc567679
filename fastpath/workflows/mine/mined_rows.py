"""Rows of stores that were mined, and the table that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpath.runs import mined_table
from fastpath.runs.mined_table import WEIGHTS, MinedKind
from fastpath.store.joined import JoinedStore
from fastpath.store.reader import Store
from fastpath.store.split_table import SplitTable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class MinedRows:
    """Rows of a store with why they were taken, and what was predicted of them."""

    store: Store
    rows_N: np.ndarray
    kinds_N: np.ndarray
    labels_N: np.ndarray
    probability_N: np.ndarray
    loss_N: np.ndarray


def to_frame(mined: Sequence[MinedRows], split: SplitTable, evidence: str) -> pd.DataFrame:
    """Return all rows as a table, one store's after the other's.

    Args:
        mined: By store.
        split: Of the run's store.
        evidence: Whose losses they are, of patches that had a label.
    """
    columns: dict[str, list[Any]] = {name: [] for name in (*mined_table.COLUMNS, mined_table.EVIDENCE)}
    for each in mined:
        columns["id"] += each.store.ids_N[each.rows_N].tolist()
        columns["kind"] += [str(kind) for kind in each.kinds_N]
        columns["label"] += each.labels_N.tolist()
        columns["probability"] += each.probability_N.tolist()
        columns["loss"] += each.loss_N.tolist()
        columns["weight"] += [WEIGHTS[kind] for kind in each.kinds_N]
        columns["store"] += [each.store.place] * len(each.rows_N)
        columns["store_fingerprint"] += [each.store.fingerprint] * len(each.rows_N)
        columns["split_fingerprint"] += [mined_table.split_fingerprint(split)] * len(each.rows_N)
        columns[mined_table.EVIDENCE] += ["" if kind == MinedKind.PSEUDO_LABEL else evidence for kind in each.kinds_N]
    return mined_table.frame_of(columns)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The patches of several stores, and what their indexes say of them; rows count through the stores in their order.

    Attributes:
        patches: Their pixels, and the labels that the stores give.
        starts: Row of each store's first patch, by its fingerprint.
        ids_N: Names, an object array of str.
        hashes_N: Of the pixels, an object array of bytes.
        groups_N: Slides, an object array of str; None where unknown.
    """

    patches: JoinedStore
    starts: dict[str, int]
    ids_N: np.ndarray
    hashes_N: np.ndarray
    groups_N: np.ndarray

    @classmethod
    def of(cls, stores: Sequence[Store]) -> Catalogue:
        """List stores, each once however often it is given."""
        each = {store.fingerprint: store for store in stores}
        own = list(each.values())
        ends = np.cumsum([len(store) for store in own])
        return cls(
            patches=JoinedStore(own, np.concatenate([store.labels_N for store in own])),
            starts=dict(zip(each, [0, *ends[:-1].tolist()], strict=True)),
            ids_N=np.concatenate([store.ids_N for store in own]),
            hashes_N=np.concatenate([store.column("hash") for store in own]),
            groups_N=np.concatenate(
                [np.full(len(store), None, object) if store.groups_N is None else store.groups_N for store in own]
            ),
        )

    def rows(self, mined: Sequence[MinedRows]) -> np.ndarray:
        """Return the row of each mined patch, in the order of `to_frame`: int64."""
        return np.concatenate([each.rows_N + self.starts[each.store.fingerprint] for each in mined])
