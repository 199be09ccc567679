"""A store's `split.json`: what it says, reading it, and proving that it divides this very store as it says."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from fastpath.errors import StoreError
from fastpath.ingest.sources.pcam import official_parts
from fastpath.ingest.stratified import stratified_parts
from fastpath.store import format as fmt
from fastpath.store.reader import Store
from fastpath.store.writer import channel_moments
from fastpath.text import command_line
from fastpath.types import Split

Kind = Literal["random", "group", "site", "csv", "official"]
CODES = {Split.TRAIN: "t", Split.VAL: "v", Split.TEST: "s"}
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LEFT_OUT, TEST = -1, -2
"""In place of a row's fold."""
NUMBERS = {digit: number for number, digit in enumerate(DIGITS)} | {"-": LEFT_OUT, "+": TEST}
"""Of the letters of `SplitDocument.folds`."""
_OTHER_BYTES = 1 << 16  # of a document, at most, besides a character or two a row


class SplitDocument(fmt.Strict):
    """`split.json`: one character a row of the store, so a table of any reader's liking is one loop away."""

    format_version: Annotated[int, Field(ge=1, le=fmt.FORMAT_VERSION)] = fmt.FORMAT_VERSION
    """The store format's version."""
    store: fmt.Hash
    """Fingerprint of the store it was made for."""
    kind: Kind
    """How rows were dealt."""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Seed of the deal."""
    val: fmt.Share
    """Share of patches asked for as validation."""
    test: fmt.Share = 0.0
    """Share of patches asked for as test."""
    fold: Annotated[int, Field(ge=0, lt=len(DIGITS))]
    """Which of `folds` is validation; 0 where there are none."""
    num_folds: Annotated[int, Field(ge=0, le=len(DIGITS))]
    """Folds dealt; 0 where only one division was asked for."""
    mean_3: tuple[fmt.Share, fmt.Share, fmt.Share]
    """Exact channel means over the training rows, in units of 0 to 1."""
    std_3: tuple[fmt.Share, fmt.Share, fmt.Share]
    """Exact channel standard deviations over the training rows, in units of 0 to 1."""
    rows: str
    """A character a row: t train, v validation, s test, - left out."""
    folds: str
    """A base-36 digit a row: its fold; + test, - left out. Empty where there are no folds."""

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a test share of nothing: a division without one has the bytes that it had before there were any."""
        values: dict[str, Any] = plain(self)
        if not self.test:
            del values["test"]
        return values

    @model_validator(mode="after")
    def _consistent(self) -> SplitDocument:
        """Refuse characters that mean nothing, and folds that are not those of the rows."""
        if strange := set(self.rows) - {*CODES.values(), "-"}:
            raise ValueError(f"found rows of {min(strange)!r}, wanted t, v, s or -")
        digits = set(self.folds)
        if strange := digits - {*DIGITS[: self.num_folds], "+", "-"}:
            raise ValueError(f"found fold {min(strange)!r} of {self.num_folds}")
        if bool(self.folds) != bool(self.num_folds) or self.fold >= max(self.num_folds, 1):
            raise ValueError(f"found fold {self.fold} of {self.num_folds}")
        if self.folds and self.rows != self.folds.translate(_as_codes(self.fold)):
            raise ValueError(f"found rows that are not those of fold {self.fold}")
        return self


def _as_codes(fold: int) -> dict[int, str]:
    """Return what turns digits of folds into codes of rows."""
    codes = {digit: CODES[Split.VAL if number == fold else Split.TRAIN] for number, digit in enumerate(DIGITS)}
    return str.maketrans(codes | {"+": CODES[Split.TEST]})


def read_document(store: Store) -> SplitDocument:
    """Read a store's split as it was written.

    Raises:
        StoreError: There is none, it is damaged, or it belongs to another store.
    """
    path, remedy = store.path / fmt.SPLIT, f"run: {command_line('fastpath', 'split', store.path)}"
    if not os.path.lexists(path):
        problem = "found no split.json, wanted a division into training and validation"
        if store.remote is not None:
            raise StoreError(store, problem, "divide it with 'fastpath split' where it lies")
        raise StoreError(store.path, problem, remedy)
    document = fmt.load_document(path, SplitDocument, bytes_max=2 * len(store) + _OTHER_BYTES)
    if document.store != store.fingerprint or len(document.rows) != len(store):
        problem = f"found a split of store {document.store}, wanted one of {store.fingerprint}"
        raise StoreError(path, problem, remedy)
    return document


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
