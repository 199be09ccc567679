"""A split's file, a store's own `split.json` or one that lies elsewhere: what it says, and reading it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from fastpath.errors import StoreError
from fastpath.store import format as fmt
from fastpath.text import command_line
from fastpath.types import Split

if TYPE_CHECKING:
    from fastpath.store.reader import Store

SplitKind = Literal["random", "group", "site", "csv", "official"]
CODES = {Split.TRAIN: "t", Split.VAL: "v", Split.TEST: "s"}
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LEFT_OUT, TEST = -1, -2
"""In place of a row's fold."""
NUMBERS = {digit: number for number, digit in enumerate(DIGITS)} | {"-": LEFT_OUT, "+": TEST}
"""Of the letters of `SplitDocument.folds`."""
BYTES_MIN = 1 << 16  # of a document, at most, besides what is there a row
BYTES_A_ROW = 2 + 8 + 64  # its part and fold, the number of its group, and its share of the groups' names


class SplitDocument(fmt.Strict):
    """`split.json`: one character a row of the store, so a table of any reader's liking is one loop away."""

    format_version: Annotated[int, Field(ge=1, le=fmt.FORMAT_VERSION)] = fmt.FORMAT_VERSION
    """The store format's version."""
    store: fmt.Hash
    """Fingerprint of the store it was made for."""
    kind: SplitKind
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
    groups: list[Annotated[str, Field(min_length=1, max_length=fmt.GROUP_BYTES_MAX)]] = Field(default_factory=list)
    """Slides that were named after the store was packed, each once; empty where the index has them, or nothing has."""
    group_rows: str = ""
    """A number a row, its place in `groups`: base-36, all of as many digits as the last needs."""

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a test share of nothing: a division without one has the bytes that it had before there were any."""
        values: dict[str, Any] = plain(self)
        if not self.test:
            del values["test"]
        if not self.groups:
            del values["groups"], values["group_rows"]
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
        if len(self.group_rows) != len(self.rows) * digits_of(len(self.groups)):
            raise ValueError(f"found {len(self.group_rows)} digits of groups for {len(self.rows)} rows")
        if len(set(self.groups)) < len(self.groups) or set(self.group_rows) - set(DIGITS):
            raise ValueError("found a group twice, or rows of a group that is no number")
        if self.groups and max(_numbers(self.group_rows, len(self.groups))) >= len(self.groups):
            raise ValueError("found a row of a group that is not there")
        return self

    @property
    def groups_N(self) -> np.ndarray | None:
        """The slide of each row, an object array of str; None where the file names none."""
        if not self.groups:
            return None
        return np.array(self.groups, object)[_numbers(self.group_rows, len(self.groups))]


def _as_codes(fold: int) -> dict[int, str]:
    """Return what turns digits of folds into codes of rows."""
    codes = {digit: CODES[Split.VAL if number == fold else Split.TRAIN] for number, digit in enumerate(DIGITS)}
    return str.maketrans(codes | {"+": CODES[Split.TEST]})


def digits_of(num_groups: int) -> int:
    """Return how many base-36 digits the number of a group takes; 0 where there are none."""
    return len(np.base_repr(num_groups - 1, len(DIGITS))) if num_groups else 0


def in_digits(numbers: list[int], num_groups: int) -> str:
    """Write numbers of groups as `SplitDocument.group_rows` has them."""
    width, base = digits_of(num_groups), len(DIGITS)
    names = [
        "".join(DIGITS[digit // base**place % base] for place in range(width))[::-1] for digit in range(num_groups)
    ]
    return "".join(names[number] for number in numbers)


def _numbers(digits: str, num_groups: int) -> list[int]:
    width = digits_of(num_groups)
    return [int(digits[at : at + width], len(DIGITS)) for at in range(0, len(digits), width)]


def read_document(store: Store) -> SplitDocument:
    """Read the split that a store was opened with, its own or another file, as it was written.

    Raises:
        StoreError: There is none, it is damaged, or it belongs to another store.
    """
    path, remedy = store.split_path, _remedy(store)
    if not os.path.lexists(path):
        problem = "found no split.json, wanted a division into training and validation"
        if store.split_file is not None:
            raise StoreError(path, "found no file, wanted a split of the store", remedy)
        raise StoreError(store if store.remote is not None else store.path, problem, remedy)
    document = fmt.load_document(
        path,
        SplitDocument,
        bytes_max=BYTES_A_ROW * len(store) + BYTES_MIN,
        follow=store.split_file is not None,  # a person names it
    )
    if document.store != store.fingerprint or len(document.rows) != len(store):
        problem = f"found a split of store {document.store}, wanted one of {store.fingerprint}"
        raise StoreError(path, problem, remedy)
    return document


def _remedy(store: Store) -> str:
    """Return how to come by a split of a store: in another place where it cannot be written to."""
    divide = ("fastpath", "split", store.address)
    if store.split_file is not None:
        return f"name another with --split-file, or run: {command_line(*divide, '-o', store.split_file)}"
    if store.remote is None and os.access(store.path, os.W_OK):
        return f"run: {command_line(*divide)}"
    own = Path(f"{store.path.resolve().name if store.remote is None else 'store'}-split.json")
    return f"run: {command_line(*divide, '-o', own)} and give that file as --split-file"
