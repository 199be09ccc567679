"""Deal the rows of a store into folds or one division, and a test part before that: by patch, slide or site."""

from __future__ import annotations

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.stratified import stratified_draw, stratified_parts
from fastpath.store.reader import Store
from fastpath.store.split_document import DIGITS, TEST, SplitKind


def deal_folds(store: Store, kind: SplitKind, *, val: float, test: float, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row, int64; `TEST` for those of the test part. Without folds, 0 is validation.

    The test part depends on its share and the seed alone: other folds, or another share of validation, leave it.

    Args:
        store: The store.
        kind: `random`, `group` or `site`.
        val: Share of all patches for validation; read where `folds` is 0.
        test: Share of all patches for test; 0 for none.
        folds: Number of folds; 0 makes one division.
        seed: Decides the deal.

    Raises:
        DataError: Groups or sites are unknown, or a test part was asked for beside sites.
        ValueError: Too few patches or groups.
    """
    if val + test >= 1 and not folds:
        raise DataError("--val, --test", f"found {val:g} and {test:g}", "leave patches to train on")
    if kind == "site":
        return _by_site(store, test)
    return (_by_group if kind == "group" else _by_patch)(store, val, test, folds, seed)


def _by_patch(store: Store, val: float, test: float, folds: int, seed: int) -> np.ndarray:
    """Stratified by label. One division is scikit-learn's train_test_split, where no test part is drawn before it."""
    labels_N = store.labels_N
    folds_N = np.ones(len(store), np.int64)
    if not folds:
        test_rows, val_rows = stratified_parts(labels_N, test, val, seed)
        folds_N[test_rows], folds_N[val_rows] = TEST, 0
        return folds_N
    from sklearn.model_selection import StratifiedKFold

    folds_N[stratified_draw(labels_N, test, seed) if test else []] = TEST
    rest_M = np.flatnonzero(folds_N != TEST)
    dealer = StratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(dealer.split(rest_M, labels_N[rest_M])):
        folds_N[rest_M[held]] = number
    return folds_N


def _by_group(store: Store, val: float, test: float, folds: int, seed: int) -> np.ndarray:
    """Whole groups at a time, class shares balanced."""
    if store.groups_N is None:
        raise DataError(store.path, "found no groups, wanted each patch's slide", "pack with --groups CSV (id,wsi)")
    folds_N = np.full(len(store), TEST, np.int64)
    rest_M = np.arange(len(store))
    if test:
        parts_N = _group_folds(store.labels_N, store.groups_N, max(2, round(1 / test)), seed)
        rest_M = np.flatnonzero(parts_N != _test_part(parts_N, store.labels_N, test))
    number_of = folds or max(2, round((1 - test) / val))
    folds_N[rest_M] = _group_folds(store.labels_N[rest_M], store.groups_N[rest_M], number_of, seed)
    return folds_N


def _group_folds(labels_M: np.ndarray, groups_M: np.ndarray, number_of: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold

    num_groups = len(set(groups_M.tolist()))
    if num_groups < number_of:
        raise ValueError(f"{num_groups} groups for {number_of} folds")
    dealer = StratifiedGroupKFold(n_splits=number_of, shuffle=True, random_state=seed)
    folds_M = np.zeros(len(labels_M), np.int64)
    for number, (_, held) in enumerate(dealer.split(labels_M, labels_M, groups_M)):
        folds_M[held] = number
    return folds_M


def _test_part(parts_N: np.ndarray, labels_N: np.ndarray, share: float) -> int:
    """Return the part that is nearest to a share of all, of those that hold both classes: one alone judges nothing."""
    parts = range(int(parts_N.max()) + 1)
    whole = [part for part in parts if len(np.unique(labels_N[parts_N == part])) == 2]
    return min(whole or parts, key=lambda part: abs((parts_N == part).mean() - share))


def num_sites(store: Store, folds: int) -> int:
    """Return the number of sites, which is that of the folds.

    Raises:
        DataError: Sites are unknown, too few or too many, or another number of folds was asked for.
    """
    if store.sites_N is None:
        remedy = "pack with --groups CSV (id,wsi,site)"
        raise DataError(store.path, "found no sites, wanted the site of each patch", remedy)
    result = len(set(store.sites_N.tolist()))
    if not 2 <= result <= len(DIGITS):
        problem = f"found {result} sites, wanted 2 to {len(DIGITS)} to leave one out at a time"
        raise DataError(store.path, problem, "use --kind group")
    if folds not in (0, result):
        problem = f"found {folds} folds for {result} sites, wanted a fold for each site"
        raise DataError("--folds", problem, "leave it out with --kind site")
    return result


def _by_site(store: Store, test: float) -> np.ndarray:
    """Fold of each row: the place of its site among their names."""
    if test:
        problem = f"found {test:g} with --kind site, which judges each site in turn, wanted none"
        raise DataError("--test", problem, "use --kind group, or give the division with --kind csv")
    assert store.sites_N is not None
    return np.unique(store.sites_N.astype(str), return_inverse=True)[1].astype(np.int64)
