"""Which patches are among those of a store: by row, where it is their own, else by id, pixels or slide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastpath.ingest.loose_patches import LoosePatches
from fastpath.runs.row_history import Bools
from fastpath.store.reader import Store


def same_store(patches: Store | LoosePatches, store: Store) -> bool:
    """Whether patches are those of this very store."""
    return isinstance(patches, Store) and patches.fingerprint == store.fingerprint


def among(patches: Store | LoosePatches, rows_N: NDArray[np.int64], store: Store, of_N: NDArray[np.int64]) -> Bools:
    """Return which patches are among those rows of a store: bool [N]."""
    if same_store(patches, store):
        return np.isin(rows_N, of_N)
    found_N = _in(patches.ids_N[rows_N], store.ids_N[of_N])
    if isinstance(patches, Store):
        # The first half of a hash is enough: a million patches and another share one by chance in 5e-8 of cases.
        found_N |= np.isin(patches.hash_halves_N2[rows_N, 0], store.hash_halves_N2[of_N, 0])
    return found_N


def of_slides(patches: Store | LoosePatches, rows_N: NDArray[np.int64], store: Store, of_N: NDArray[np.int64]) -> Bools:
    """Return which patches of another store are of a slide that these rows of a store are of: bool [N]."""
    if (
        same_store(patches, store)
        or not isinstance(patches, Store)
        or patches.groups_N is None
        or store.groups_N is None
    ):
        return np.zeros(len(rows_N), bool)
    return _in(patches.groups_N[rows_N], store.groups_N[of_N])


def _in(names_N: NDArray[np.object_], of_N: NDArray[np.object_]) -> Bools:
    wanted = set(of_N.tolist())
    return np.fromiter((name in wanted for name in names_N.tolist()), bool, len(names_N))
