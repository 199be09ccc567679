"""Decide who is trained on: random and stratified, or by slide; kept in the store, or elsewhere, as one atomic file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastpath.errors import DataError, FastpathError, StoreError, UsageError
from fastpath.ingest.assign_split import deal_folds, num_sites
from fastpath.ingest.sources.columns import read_columns
from fastpath.ingest.sources.mending import suggestion
from fastpath.ingest.sources.pcam import official_parts
from fastpath.ingest.sources.tables import groups_of
from fastpath.store import format as fmt
from fastpath.store.reader import Store
from fastpath.store.split_document import (
    BYTES_A_ROW,
    BYTES_MIN,
    CODES,
    SplitDocument,
    SplitKind,
)
from fastpath.store.split_table import SplitTable, document_of_codes, document_of_folds, read_split, table_of
from fastpath.system import files
from fastpath.types import Split


def write_split(
    store: Store,
    kind: SplitKind | None = None,
    *,
    val: float = 0.2,
    test: float = 0.0,
    folds: int = 0,
    fold: int = 0,
    seed: int = 42,
) -> SplitTable:
    """Deal a store's rows and keep the result as the store's split (`Store.split_path`); see `deal`."""
    return _keep(store, _dealt(store, kind, val=val, test=test, folds=folds, fold=fold, seed=seed))


def deal(
    store: Store,
    kind: SplitKind | None = None,
    *,
    val: float = 0.2,
    test: float = 0.0,
    folds: int = 0,
    fold: int = 0,
    seed: int = 42,
) -> SplitTable:
    """Deal a store's rows, and leave the store's own division as it is.

    Args:
        store: A store whose every patch is labelled.
        kind: `random` (stratified by label), `group` (whole slides, balanced by label), `site` (leave one site out:
            a fold for each, in the order of their names) or `official` (PatchCamelyon's own); None takes `group` where
            slides are known.
        val: Share of patches for validation; read where `folds` is 0.
        test: Share of patches to keep apart as a test split, drawn first: neither trained nor validated on.
        folds: Number of folds; 0 makes one division.
        fold: The fold that is validation to begin with.
        seed: Decides the deal.

    Raises:
        DataError: Patches are unlabelled, groups unknown or too few, or a class too small to divide.
    """
    return table_of(_dealt(store, kind, val=val, test=test, folds=folds, fold=fold, seed=seed))


def _dealt(
    store: Store, kind: SplitKind | None, *, val: float, test: float, folds: int, fold: int, seed: int
) -> SplitDocument:
    chosen: SplitKind = kind or ("group" if store.groups_N is not None else "random")
    unlabelled = int((store.labels_N == fmt.UNLABELLED).sum())
    if unlabelled:
        problem = f"found {unlabelled} unlabelled patches of {len(store)}, wanted labels for all"
        raise DataError(store.path, problem, "pack with --labels, or give a division with --kind csv")
    if chosen == "site":
        folds = num_sites(store, folds)
    if not 0 <= fold < max(folds, 1):
        raise DataError("--fold", f"found {fold}, wanted 0 to {max(folds, 1) - 1}", "choose one of the folds")
    if chosen == "official":
        return _official(store, folds, test)
    try:
        folds_N = deal_folds(store, chosen, val=val, test=test, folds=folds, seed=seed)
    except ValueError as error:  # scikit-learn says what is wrong, and nothing more can be added
        problem = f"cannot be divided ({error})"
        raise DataError(store.path, problem, "use fewer folds, another --val or --test, or more patches") from None
    shares = {"val": val, "test": test}
    return document_of_folds(store, chosen, seed, shares, fold=fold, folds_N=folds_N, single=not folds)


def _official(store: Store, folds: int, test: float) -> SplitDocument:
    parts = None if folds or test else official_parts(store.ids_N)
    if parts is None:
        problem = f"{folds} folds" if folds else f"a test share of {test:g}" if test else "ids of no official division"
        wanted = "wanted PatchCamelyon's own training and validation patches"
        raise DataError(store.path, f"found {problem}, {wanted}", "use --kind group or random")
    codes_N = np.array([ord(CODES[part]) for part in parts], np.uint8)
    return document_of_codes(store, "official", codes_N, seed=0, val=0.0)


def write_split_from_csv(store: Store, table: Path) -> SplitTable:
    """Take the division from a table of `id,split` (train, val or test); rows it does not name are left out.

    Raises:
        DataError: The table cannot be read, or names an unknown id, an id twice, or another part.
    """
    row_of = {str(name): row for row, name in enumerate(store.ids_N)}
    codes_N = np.full(len(store), ord("-"), np.uint8)
    columns = read_columns(table, ["id", "split"], needed=[["id"], ["split"]])
    for row, (name, part) in enumerate(zip(columns.cells["id"], columns.cells["split"], strict=True)):
        if name not in row_of or part not in set(Split):
            mended = suggestion([name], row_of) if name not in row_of else ""
            problem = f"found id {name!r}, split {part!r}; wanted an id of the store and train, val or test{mended}"
            raise DataError(columns.location_of(row), problem, "correct that line")
        if codes_N[row_of[name]] != ord("-"):
            raise DataError(columns.location_of(row), f"found id {name!r} a second time", "keep one of the two")
        codes_N[row_of[name]] = ord(CODES[Split(part)])
    return _keep(store, document_of_codes(store, "csv", codes_N, seed=0, val=0.0))


def add_groups(store: Store, table: Path) -> Store:
    """Return a store with the slides that a table of `id,wsi` names; its split keeps them, its index stays as it is.

    Raises:
        DataError: The index names slides, or the table cannot be read or does not name one for each patch.
    """
    if store.manifest.num_groups:
        problem = f"its index names {store.manifest.num_groups} groups already, wanted a store without"
        raise DataError(store, problem, "leave out --groups, or pack again with other groups")
    names = groups_of(store.ids_N.tolist(), table)
    longest = max(names, key=len)
    if len(longest.encode()) > fmt.GROUP_BYTES_MAX:
        raise DataError(table, f"found a group of {len(longest.encode())} bytes", "give it a shorter name")
    return store.with_groups(np.array(names, object))


def leak_notice(store: Store, table: SplitTable, part: Split = Split.VAL) -> str:
    """Return one line on what a score on a part of this split cannot be trusted for; empty where all is well.

    Args:
        store: The store.
        table: Its split.
        part: The part. Validation scores are spoilt by what training has seen, those of the test split also by what
            chose the epoch, the calibration and the thresholds.
    """
    if part is Split.TRAIN:
        return ""
    seen_N, sides, scores = table.rows(Split.TRAIN), "both training and validation", "validation"
    if part is Split.TEST:
        seen_N = np.concatenate([seen_N, table.rows(Split.VAL)])
        sides, scores = "both training or validation and test", "test"
    num_twins = _num_shared(store.hash_halves_N2, seen_N, table.rows(part))
    if num_twins:
        problem = f"this split leaks: {num_twins} patches are in {sides}, pixel for pixel"
        return f"{problem}; pack with --drop duplicate"
    groups_N = store.groups_N
    if table.kind == "group" or (table.kind in ("official", "site") and groups_N is None):  # these are by slide
        return ""
    if groups_N is None:
        return (
            f"slides are unknown, so patches of one slide may be on both sides and {scores} scores are "
            "optimistic; give --groups to divide by slide"
        )
    both = set(groups_N[seen_N]) & set(groups_N[table.rows(part)])
    if not both:
        return ""
    return (
        f"this split leaks: {len(both)} of {len(set(groups_N))} groups have patches in {sides}, "
        f"so {scores} scores are optimistic; use --kind group"
    )


def _num_shared(halves_N2: np.ndarray, some: np.ndarray, others: np.ndarray) -> int:
    """Count the hashes that two sets of rows share; whole hashes are compared only where first halves agree."""
    shared = np.intersect1d(halves_N2[some, 0], halves_N2[others, 0])
    if not len(shared):
        return 0
    sides = [rows[np.isin(halves_N2[rows, 0], shared)] for rows in (some, others)]
    wholes = [set(map(tuple, halves_N2[rows].tolist())) for rows in sides]
    return len(wholes[0] & wholes[1])


def _keep(store: Store, document: SplitDocument) -> SplitTable:
    elsewhere = "write it to a file with -o, and give that as --split-file"
    if store.remote is not None and store.split_file is None:
        problem = "found a store behind a URL, wanted one on disk to write a split to"
        raise StoreError(store, problem, f"divide it where it lies, or {elsewhere}")
    content = fmt.dump_document(document)
    if len(content) > BYTES_A_ROW * len(store) + BYTES_MIN:
        raise DataError(store, f"found names of groups that take {len(content):,} bytes", "give them shorter names")
    try:
        files.write_durably(store.split_path, content)
    except FastpathError as error:
        if store.split_file is not None:
            raise
        raise type(error)(
            error.location, error.problem, elsewhere if isinstance(error, UsageError) else error.remedy
        ) from error
    return read_split(store)
