"""Prove that a store's split divides this very store as it says, from the index alone."""

from __future__ import annotations

import numpy as np

from fastpath.ingest.sources.pcam import official_parts
from fastpath.ingest.stratified import stratified_parts
from fastpath.store.reader import Store
from fastpath.store.split_document import CODES, read_document
from fastpath.store.writer import channel_moments
from fastpath.types import Split


def wrong_in_split(store: Store) -> str:
    """Say what of a store's split is not so, computed anew from the index; nothing where all is.

    Raises:
        StoreError: As `read_document`.
    """
    document = read_document(store)
    codes_N = np.frombuffer(document.rows.encode("ascii"), np.uint8)
    train_N = codes_N == ord(CODES[Split.TRAIN])
    moments = channel_moments(store.sums_N3[train_N], store.squares_N3[train_N], store.patch_size_px**2)
    if (document.mean_3, document.std_3) != moments:
        return f"found mean_3 and std_3 {document.mean_3} {document.std_3}, wanted {moments[0]} {moments[1]}"
    if document.kind in ("group", "site"):
        values_N = store.groups_N if document.kind == "group" else store.sites_N
        return _straddling(document.kind, values_N, document.folds or document.rows)
    if document.kind == "official":
        parts = official_parts(store.ids_N)
        if parts is None or document.rows != "".join(CODES[part] for part in parts):
            return "found another division than PatchCamelyon's own"
    if document.kind == "random" and not document.num_folds:
        wanted_N = np.full(len(store), ord(CODES[Split.TRAIN]), np.uint8)
        try:
            drawn = stratified_parts(store.labels_N, document.test, document.val, document.seed)
            for part, rows in zip((Split.TEST, Split.VAL), drawn, strict=True):
                wanted_N[rows] = ord(CODES[part])
        except ValueError as error:
            return f"cannot have been drawn ({error})"
        if (wanted_N != codes_N).any():
            return f"found another division than that of seed {document.seed}"
    return ""


def _straddling(what: str, values_N: np.ndarray | None, parts: str) -> str:
    """Say so where a group, or a site, has rows in two parts."""
    if values_N is None:
        return f"found a division by {what} of a store without {what}s"
    part_of: dict[str, str] = {}
    for value, part in zip(values_N.tolist(), parts, strict=True):
        if part_of.setdefault(value, part) != part:
            return f"found a {what} with rows in two parts of a division by {what}"
    return ""
