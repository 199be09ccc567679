"""Prove that a store holds what it says: every file, every row, every count."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from fastpath.errors import StoreError
from fastpath.store import format as fmt
from fastpath.store.reader import Store
from fastpath.store.writer import channel_moments
from fastpath.system.files import clear_temporaries


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as the manifest says.

    Attributes:
        file: File of the store.
        problem: What was found and what was wanted.
        rows: Rows of the store that it concerns, where that can be told.
        ids: Their ids.
    """

    file: str
    problem: str
    rows: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()


def check_index(store: Store) -> list[Damage]:
    """Check the index, and what the manifest says of it: schema, bounds, counts, moments and fingerprint."""
    try:
        store.check_index()
        return _check_places(store) + _check_fingerprint(store) + _check_sums(store) + _check_manifest(store)
    except StoreError as error:
        return [Damage(fmt.INDEX, error.problem)]


def _check_places(store: Store) -> list[Damage]:
    """Name rows whose pixels are those of an earlier row: pack gives each a place of its own."""
    rows = np.array([entry.rows for entry in store.manifest.shards], np.int64)
    place_N = (np.cumsum(rows) - rows)[store.column("shard")] + store.column("row")
    order = np.argsort(place_N, kind="stable")
    again = np.sort(order[1:][np.diff(place_N[order]) == 0])
    return (
        [Damage(fmt.INDEX, f"{len(again)} rows have the place of another", *_named(store, again))] if len(again) else []
    )


def _check_fingerprint(store: Store) -> list[Damage]:
    groups_N = store.packed_groups_N
    groups = None if groups_N is None else groups_N.tolist()
    sites = None if store.sites_N is None else store.sites_N.tolist()
    hashes = store.hash_halves_N2.tobytes()
    result = fmt.fingerprint(store.ids_N.tolist(), store.labels_N, groups, hashes, sites)
    if result == store.fingerprint:
        return []
    return [Damage(fmt.INDEX, f"found fingerprint {result}, wanted {store.fingerprint}")]


def _check_sums(store: Store) -> list[Damage]:
    """Name rows whose sums no patch can have. For N values that add up to S, the squares are S²/N to 255 S."""
    pixels = store.manifest.patch_shape[0] ** 2
    sums_N3, squares_N3 = store.sums_N3, store.squares_N3
    wrong_N3 = (sums_N3 < 0) | (sums_N3 > 255 * pixels) | (squares_N3 < sums_N3) | (squares_N3 > 255 * sums_N3)
    wrong_N3 |= squares_N3 < np.where(wrong_N3, 0, sums_N3) / pixels * sums_N3 * (1 - 1e-9)
    sharpness_N = store.column("sharpness")
    wrong_N = wrong_N3.any(axis=1) | ~np.isfinite(sharpness_N) | (sharpness_N < 0)
    rows = np.flatnonzero(wrong_N)
    if not len(rows):
        return []
    return [Damage(fmt.INDEX, f"{len(rows)} rows have measures that no patch has", *_named(store, rows))]


def _check_manifest(store: Store) -> list[Damage]:
    """Compute anew what the manifest says of the index."""
    manifest, pixels = store.manifest, store.manifest.patch_shape[0] ** 2
    mean_3, std_3 = channel_moments(store.sums_N3, store.squares_N3, pixels)
    groups_N = store.packed_groups_N
    num_groups = 0 if groups_N is None else len(set(groups_N))
    rows = sum(entry.rows for entry in manifest.shards)
    statements: list[tuple[str, object, object]] = [
        ("mean_3", manifest.mean_3, mean_3),
        ("std_3", manifest.std_3, std_3),
        ("num_groups", manifest.num_groups, num_groups),
    ]
    if "dropped" in manifest.source:
        statements.append(("source.dropped", manifest.source["dropped"], rows - len(store)))
    if "resize_px" in manifest.source:
        statements.append(("source.resize_px", manifest.source["resize_px"], store.patch_size_px))
    return [
        Damage(fmt.MANIFEST, f"found {name} {computed}, wanted {wanted}")
        for name, computed, wanted in statements
        if computed != wanted
    ]


def _named(store: Store, rows: np.ndarray) -> tuple[tuple[int, ...], tuple[str, ...]]:
    return tuple(rows.tolist()), tuple(store.ids_N[rows])


def check_strangers(store: Store) -> list[Damage]:
    """Name files that do not belong to the store, such as what an interrupted copy leaves.

    What a killed `split` or `repair` leaves under a temporary name is passed over: the next one removes it.
    """
    known = names_of(store)
    strangers = sorted(path.name for path in store.path.iterdir() if path.name not in known)
    return [Damage(fmt.one_line(name), "is not a file of the store") for name in strangers if not _writing(name)]


def names_of(store: Store) -> set[str]:
    """Return the names of all files that a store may have."""
    return {fmt.MANIFEST, fmt.INDEX, fmt.SPLIT} | {entry.file for entry in store.manifest.shards}


def clear_leftovers(store: Store) -> None:
    """Remove what killed writers of the store's files left beside them."""
    known = names_of(store)
    for path in list(store.path.iterdir()):
        if path.name.partition(".rebuilt")[0] in known and _REBUILT.fullmatch(path.name):
            path.unlink(missing_ok=True)
    for name in {name for path in store.path.iterdir() if (name := _writing(path.name)) in known}:
        clear_temporaries(store.path / name)


_TEMPORARY = re.compile(r"\.(shard-\d{5}\.npy|split\.json)\.[0-9a-f]{16}\.tmp")
_REBUILT = re.compile(r"shard-\d{5}\.npy\.rebuilt(\.\d+\.tmp)?")  # what earlier versions left


def _writing(temporary: str) -> str:
    """Return the file that a temporary name is of, or nothing."""
    match = _TEMPORARY.fullmatch(temporary)
    return match[1] if match else ""
