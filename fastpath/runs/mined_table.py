"""The table of mined patches: what `fastpath mine` writes and `train --set data.extra=TABLE` reads.

Parquet or CSV, by the name's suffix. A row is a patch to train on more, less, or at all. Training takes its label and
its weight; the page of `mine` (`figures.review_page`) writes the same table again, with both as a reviewer decided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpath.errors import DataError, UsageError
from fastpath.store.split_table import SplitTable
from fastpath.system import tables
from fastpath.system.files import write_durably

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "kind", "label", "probability", "loss", "weight", "store", "store_fingerprint", "split_fingerprint")
EVIDENCE = "evidence"
"""A column that need not be there: `OUT_OF_FOLD` or `TRAINING` for a loss, by which networks; empty for new labels."""
OUT_OF_FOLD, TRAINING = "out of fold", "training"
DECISION = "decision"
"""A column that need not be there: what a reviewer decided, one of `Decision`; empty where nobody has."""


class MinedKind(StrEnum):
    """Why a patch was mined."""

    HARD_NEGATIVE = "hard_negative"
    """Labelled 0, and among those of the highest loss."""
    HARD_POSITIVE = "hard_positive"
    """Labelled 1, and among those of the highest loss."""
    LABEL_ERROR = "label_error"
    """Its label is likely wrong."""
    PSEUDO_LABEL = "pseudo_label"
    """Unlabelled, and the network is sure."""


WEIGHTS: Mapping[MinedKind, float] = {
    MinedKind.HARD_NEGATIVE: 2.0,
    MinedKind.HARD_POSITIVE: 2.0,
    MinedKind.LABEL_ERROR: 0.0,  # not trained on until somebody has looked at it
    MinedKind.PSEUDO_LABEL: 1.0,
}
"""How often each is drawn where an unmined patch is drawn once."""


class Decision(StrEnum):
    """What a reviewer may decide of a mined patch. The row's label and weight follow it."""

    KEEP = "keep"
    """The label is right."""
    FLIP = "flip"
    """The other label is."""
    DROP = "drop"
    """Neither can be told: not to be trained on."""


REVIEWED_WEIGHTS: Mapping[MinedKind, Mapping[Decision, float]] = {
    # A label that was confirmed is trained on. One that was flipped agrees with the network, which erred on the wrong
    # one: the patch is hard no longer.
    kind: {Decision.KEEP: weight or 1.0, Decision.FLIP: 1.0, Decision.DROP: 0.0}
    for kind, weight in WEIGHTS.items()
}
"""Weight of a row by its kind and what was decided."""
SEEN_BY_ITSELF = (
    "losses are of the training patches themselves, which a network fits, wrong labels included: "
    "'fastpath train --folds K' gives better ones"
)
SEEN_BY_FOLDS = (
    "hard patches and label errors were chosen by networks of other folds, which were trained on the present "
    "validation fold: validation scores of a network trained on them are optimistic by what these networks passed on "
    "of it; judge a test split ('fastpath split --test 0.1' before the folds)"
)
WEIGHT_MAX = 1e6
"""A patch of more is all that an epoch of a million would draw."""


@dataclass(frozen=True, slots=True)
class MinedTable:
    """A table of mined patches.

    Attributes:
        path: Its file.
        frame: Columns as `COLUMNS`, and whatever else the file holds.
        fingerprint: 16 hex digits that differ when any byte of the file does.
    """

    path: Path
    frame: pd.DataFrame
    fingerprint: str

    @property
    def notice(self) -> str:
        """What the reader of validation scores of a network trained on this table must know; empty where nothing."""
        if EVIDENCE not in self.frame or not (self.frame[EVIDENCE] == OUT_OF_FOLD).any():
            return ""
        return SEEN_BY_FOLDS


def check_target(path: Path) -> None:
    """Refuse a name that says nothing of the format, before time is spent.

    Raises:
        UsageError: Naming what was found.
    """
    if path.suffix not in tables.SUFFIXES or path.is_dir():
        problem = "a directory" if path.is_dir() else f"'{path.suffix}'"
        raise UsageError(path, f"found {problem}, wanted a name that ends in .parquet or .csv", "give another -o")


def frame_of(columns: Mapping[str, Iterable[Any]]) -> pd.DataFrame:
    """Return columns of `COLUMNS`, and `EVIDENCE` where it is among them, as a frame of the table's types."""
    import pandas as pd

    types = {"label": "int8", "probability": "float64", "loss": "float64", "weight": "float64"}
    return pd.DataFrame({name: list(columns[name]) for name in (*COLUMNS, EVIDENCE) if name in columns}).astype(types)


def write(path: Path, frame: pd.DataFrame) -> None:
    """Write the table, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, tables.render(frame, path))


def read(path: Path) -> MinedTable:
    """Read a table and see that every row can be used.

    Raises:
        DataError: It cannot be read, lacks a column, or holds a value out of range or a patch twice.
    """
    remedy = "give a table that 'fastpath mine' wrote"
    frame, content = tables.read(path, remedy)
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise DataError(path, f"found no column '{missing[0]}', wanted {', '.join(COLUMNS)}", remedy)
    _check_values(path, frame)
    return MinedTable(path, frame, hashlib.sha256(content).hexdigest()[:16])


def _check_values(path: Path, frame: pd.DataFrame) -> None:
    """Refuse a table with a row that cannot be trained on."""
    weight_N = np.asarray(_numbers(frame["weight"]))
    decision = frame[DECISION] if DECISION in frame else frame["kind"].where(frame["kind"].isna())
    dropped_N = (decision == Decision.DROP).to_numpy()
    for name, good_N, wanted in (
        ("kind", frame["kind"].isin([str(kind) for kind in MinedKind]).to_numpy(), f"one of {', '.join(MinedKind)}"),
        ("label", np.isin(_numbers(frame["label"]), (0.0, 1.0)), "0 or 1"),
        ("weight", (weight_N >= 0) & (weight_N <= WEIGHT_MAX), f"a number from 0 on, up to {WEIGHT_MAX:g}"),
        (DECISION, (decision.isna() | decision.isin(["", *Decision])).to_numpy(), f"{', '.join(Decision)} or nothing"),
        ("weight", ~dropped_N | (weight_N == 0), "0, as its decision is 'drop'"),
        ("id", frame["id"].notna().to_numpy(), "a name"),
        ("id", ~frame.duplicated(["id", "store_fingerprint"]).to_numpy(), "each patch once"),
    ):
        bad = np.flatnonzero(~good_N)
        if len(bad):
            result = frame[name].iloc[bad[0]]
            location = f"{path} row {bad[0] + 1}"
            raise DataError(location, f"found {name} {result!r}, wanted {wanted}", "correct that row")


def _numbers(column: pd.Series[Any]) -> np.ndarray:
    import pandas as pd

    return np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)


def split_fingerprint(split: SplitTable) -> str:
    """Return 16 hex digits that differ when any patch is in another part."""
    return hashlib.sha256(split.codes_N.tobytes()).hexdigest()[:16]
