"""What a mined table changes of the patches a run trains on, and what it must not bring in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastpath.config import Config
from fastpath.errors import DataError, StoreError
from fastpath.runs import mined_table
from fastpath.runs.mined_table import MinedTable
from fastpath.runs.run_data import RunData
from fastpath.store.joined import JoinedStore
from fastpath.store.reader import Store
from fastpath.store.recorded import open_recorded
from fastpath.store.split_table import SplitTable
from fastpath.types import Split

_MINE_AGAIN = "mine again with 'fastpath mine', or drop those rows"


@dataclass(frozen=True, slots=True)
class Extra:
    """The patches of a run with a mined table.

    Attributes:
        patches: The run's store, followed by those that the table's other patches lie in.
        rows_N: int64, rows of `patches` to train on, ascending.
        weights_N: float64, how often each is drawn, relative to the others; above 0.
        num_added: Patches that would not be trained on without the table.
        num_dropped: Patches that would be.
        fingerprint: Of the table.
        notice: What the reader of validation scores must know of it; empty where nothing.
    """

    patches: JoinedStore
    rows_N: np.ndarray
    weights_N: np.ndarray
    num_added: int
    num_dropped: int
    fingerprint: str
    notice: str = ""


def with_extra(data: RunData, config: Config) -> RunData:
    """Return a run's data with what the table `data.extra` changes of it; as it is where there is none.

    Raises:
        DataError: See `apply`.
        StoreError: See `apply`.
    """
    if config.data.extra is None:
        return data
    extra = apply(config.data.extra, data.store, data.split, data.train_rows_N)
    return replace(
        data,
        joined=extra.patches,
        train_rows_N=extra.rows_N,
        weights_N=extra.weights_N,
        extra_fingerprint=extra.fingerprint,
        extra_notice=extra.notice,
    )


def apply(path: Path, store: Store, split: SplitTable, train_rows_N: np.ndarray) -> Extra:
    """Add a table's patches to those of a run, with its labels and weights; weight 0 takes a patch away.

    Args:
        path: The table.
        store: The run's store.
        split: Its division.
        train_rows_N: int64, rows of the store that the run trains on.

    Raises:
        DataError: The table cannot be read, was mined on another split, names patches that are not there, or holds
            patches of the validation or test split, by id or by pixels.
        StoreError: A store of the table's patches is gone or has changed.
    """
    table = mined_table.read(path)
    _check_split(table, split)
    stores = _stores(table, store)
    rows_T = _rows(table, stores)
    _check_held_out(table, store, split, stores, rows_T)
    labels_N = np.concatenate([each.labels_N for each in stores])
    labels_N[rows_T] = table.frame["label"].to_numpy()
    weights_N = np.zeros(len(labels_N))
    weights_N[train_rows_N] = 1.0
    before = weights_N > 0
    weights_N[rows_T] = table.frame["weight"].to_numpy(np.float64)
    rows_N = np.flatnonzero(weights_N > 0).astype(np.int64)
    if len(np.unique(labels_N[rows_N])) < 2:
        raise DataError(path, "leaves one class to train on, wanted both", "give fewer rows a weight of 0")
    return Extra(
        patches=JoinedStore(stores, labels_N),
        rows_N=rows_N,
        weights_N=weights_N[rows_N],
        num_added=int((~before & (weights_N > 0)).sum()),
        num_dropped=int((before & (weights_N == 0)).sum()),
        fingerprint=table.fingerprint,
        notice=table.notice,
    )


def held_out(store: Store, split: SplitTable) -> np.ndarray:
    """Return the rows that must not be trained on: validation and test, int64."""
    return np.concatenate([split.rows(Split.VAL), split.rows(Split.TEST)])


def held_out_twins(store: Store, split: SplitTable, other: Store, rows_N: np.ndarray) -> np.ndarray:
    """Return which rows of a store are patches held out of training, by id or by pixels: bool [N].

    Where no slide is both trained on and held out, patches of a slide that is held out count as well, whatever kind of
    split that is; and likewise of a site.
    """
    held_N = held_out(store, split)
    names = [(store.column(name), other.column(name)) for name in ("id", "hash")]
    for own_N, others_N in ((store.groups_N, other.groups_N), (store.sites_N, other.sites_N)):
        if others_N is not None and own_N is not None and _apart(own_N, split.rows(Split.TRAIN), held_N):
            names.append((own_N, others_N))
    found_N = np.zeros(len(rows_N), bool)
    for own_N, others_N in names:
        held = set(own_N[held_N])
        found_N |= np.fromiter((value in held for value in others_N[rows_N]), bool, len(rows_N))
    return found_N


def _apart(values_N: np.ndarray, some: np.ndarray, others: np.ndarray) -> bool:
    """Whether two sets of rows share no value."""
    return set(values_N[some].tolist()).isdisjoint(values_N[others].tolist())


def _check_split(table: MinedTable, split: SplitTable) -> None:
    """Refuse a table made by networks that trained on what is now held out."""
    fingerprints, wanted = set(table.frame["split_fingerprint"]), mined_table.split_fingerprint(split)
    if fingerprints - {wanted}:
        problem = f"was mined on another split (found {min(fingerprints - {wanted})}, wanted {wanted})"
        remedy = "mine with a run on this split: others may have trained on its validation patches"
        raise DataError(table.path, problem, remedy)


def _stores(table: MinedTable, store: Store) -> list[Store]:
    """Return the run's store, and after it those of the table that are others."""
    stores = [store]
    places = table.frame[["store", "store_fingerprint"]].drop_duplicates("store_fingerprint")
    for path, fingerprint in places.itertuples(index=False):
        if fingerprint == store.fingerprint:
            continue
        other = open_recorded(path, table.path, _MINE_AGAIN)
        if other.fingerprint != fingerprint:
            problem = f"is not the store that patches were mined in: found {other.fingerprint}, wanted {fingerprint}"
            raise StoreError(path, problem, "restore it, or mine again")
        if other.patch_size_px != store.patch_size_px:
            problem = f"found patches of {other.patch_size_px} px, wanted {store.patch_size_px} px as the run's own"
            raise StoreError(path, problem, "pack them with --resize, and mine again")
        if other.stain != store.stain:
            problem = f"found patches of stain normalisation '{other.stain}', wanted '{store.stain}' as the run's own"
            raise StoreError(path, problem, "pack them with that --stain, and mine again")
        stores.append(other)
    return stores


def _rows(table: MinedTable, stores: Sequence[Store]) -> np.ndarray:
    """Return each table row's place in the joined stores, int64."""
    rows_T = np.empty(len(table.frame), np.int64)
    start = 0
    for store in stores:
        row_of = {name: row + start for row, name in enumerate(store.ids_N)}
        for at in np.flatnonzero(table.frame["store_fingerprint"] == store.fingerprint):
            name = table.frame["id"].iloc[at]
            if name not in row_of:
                raise DataError(table.path, f"names patch '{name}', which {store} does not hold", _MINE_AGAIN)
            rows_T[at] = row_of[name]
        start += len(store)
    return rows_T


def _check_held_out(
    table: MinedTable, store: Store, split: SplitTable, stores: Sequence[Store], rows_T: np.ndarray
) -> None:
    """Refuse a table that would train on a patch of the validation or test split, under whatever name."""
    start = 0
    for other in stores:
        at = np.flatnonzero((rows_T >= start) & (rows_T < start + len(other)))
        bad = at[held_out_twins(store, split, other, rows_T[at] - start)]
        start += len(other)
        if len(bad):
            first, kind = table.frame["id"].iloc[bad[0]], table.frame["kind"].iloc[bad[0]]
            held = {str(store.ids_N[row]) for row in held_out(store, split)}
            matched_by = "by id" if first in held else "by pixels or slide"
            problem = (
                f"holds {len(bad)} patches of the validation or test split, the first '{first}' ({kind}, {matched_by})"
            )
            raise DataError(table.path, problem, _MINE_AGAIN)
