"""What a report is made of: labelled, scored patches, and which of them calibrate and which are judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import combine, metrics
from fastpath.analysis.combine import Mean
from fastpath.analysis.intervals import MIN_SLIDES, Units, units_of
from fastpath.errors import DataError
from fastpath.runs.row_history import COLUMN, UNKNOWN
from fastpath.store.reader import Store
from fastpath.system import checked_table

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

CALIBRATING, HELD = ("validation split", "calibration half"), ("test split", "held half")
"""What patches that calibrate, and those that neither calibration nor threshold has seen, are called in a table."""


@dataclass(frozen=True, slots=True)
class ScoredTable:
    """Labelled patches with their scores.

    Attributes:
        ids_N: object, names.
        labels_N: int8, 0 or 1.
        logits_N: float64, what is judged: of one view, or the mean of several.
        groups_N: object, slides; None where unknown.
        plain_N: float64, logits of the patch as it is, where `logits_N` is a mean of views; None otherwise.
        spread_N: float64, standard deviation of the views' probabilities; None without views.
        is_calibration_N: bool, patches that calibrate and choose thresholds; None before the table is divided.
        history_N: object, words of `row_history` on what the network has done with each; None where nothing is told.
        apart: Those are of another split than the one that is judged. Otherwise they are a half of it.
        elsewhere: The patches are of another store than the network's own, and none calibrates.
    """

    ids_N: NDArray[np.object_]
    labels_N: NDArray[np.int8]
    logits_N: Floats
    groups_N: NDArray[np.object_] | None = None
    plain_N: Floats | None = None
    spread_N: Floats | None = None
    is_calibration_N: NDArray[np.bool_] | None = None
    history_N: NDArray[np.object_] | None = None
    apart: bool = False
    elsewhere: bool = False

    @property
    def part_names(self) -> tuple[str, str]:
        """What to call the patches that calibrate, and those that neither calibration nor threshold has seen."""
        if self.elsewhere:
            return "run's own patches", "other store"
        if self.is_calibration_N is not None and not self.is_calibration_N.any():  # all was chosen before
            return "none", "judged patches"
        return (CALIBRATING[0], HELD[0]) if self.apart else (CALIBRATING[1], HELD[1])

    @property
    def judged_N(self) -> NDArray[np.bool_]:
        """Patches that the scores as they are are judged on, bool [N]: not those of another split that calibrate."""
        if self.apart and self.is_calibration_N is not None:
            return ~self.is_calibration_N
        return np.ones(len(self), bool)

    def judged_part(self) -> ScoredTable:
        """Return the patches that are judged."""
        return self.part(self.judged_N)

    def part(self, kept_N: NDArray[np.bool_]) -> ScoredTable:
        """Return some of the patches."""
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__ if name.endswith("_N")}
        kept: dict[str, Any] = {name: array if array is None else array[kept_N] for name, array in arrays.items()}
        return replace(self, **kept)

    def __len__(self) -> int:
        return len(self.ids_N)

    def units(self, part_N: NDArray[np.bool_]) -> Units:
        """Return what is resampled of some patches: the unit is of all that are judged, however few a part holds."""
        if self.apart:
            groups_N = None if self.groups_N is None else self.groups_N[part_N]
            return units_of(groups_N, int(part_N.sum()), self.labels_N[part_N])
        return units_of(self.groups_N, len(self), self.labels_N).part(part_N)


def scored(store: Store, rows_N: NDArray[np.int64], views_NV: NDArray[np.float32], mean: Mean) -> ScoredTable:
    """Return patches of a store with their scores, not yet checked or divided.

    Args:
        store: The store.
        rows_N: int64, its rows.
        views_NV: Their logits, the first column of the patch as it is.
        mean: What is averaged over views.
    """
    several = views_NV.shape[1] > 1
    return ScoredTable(
        ids_N=store.ids_N[rows_N],
        labels_N=store.labels_N[rows_N],
        logits_N=combine.combine(views_NV, mean),
        groups_N=None if store.groups_N is None else store.groups_N[rows_N],
        plain_N=views_NV[:, 0].astype(np.float64) if several else None,
        spread_N=combine.spread(views_NV) if several else None,
    )


def check(table: ScoredTable, location: object) -> None:
    """Refuse what cannot be measured.

    Raises:
        DataError: No patches, unlabelled ones, one class only, a logit that is not finite, or one score for all.
    """
    check_labels(table.labels_N, location)
    metrics.curve(table.labels_N, table.logits_N)  # refuses what is not finite
    if np.ptp(table.logits_N) == 0:
        problem = f"found one score for all {len(table)} patches, wanted scores that differ"
        raise DataError(location, problem, "train for longer, or with another learning rate")


def check_labels(labels_N: NDArray[np.int8], location: object, what: str = "the table") -> None:
    """Refuse patches that cannot be measured, before time is spent on scoring them.

    Raises:
        DataError: Fewer than two patches of a class, or unlabelled ones.
    """
    num_positive, num_negative = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    unlabelled = len(labels_N) - num_positive - num_negative
    if unlabelled or min(num_positive, num_negative) < 2:
        description = f"found {num_positive} tumour, {num_negative} normal and {unlabelled} unlabelled patches"
        problem = f"{description} in {what}, wanted at least two of each class and labels for all"
        raise DataError(location, problem, "choose other patches, or deal another split with 'fastpath split'")


def divide(table: ScoredTable, seed: int) -> tuple[ScoredTable, str]:
    """Deal patches into halves: one calibrates and chooses thresholds, the other is judged. Returns it and a notice.

    Whole slides where there are enough of them, single patches of each class otherwise. One that is divided stays so.

    Args:
        table: Checked.
        seed: Decides the deal.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if table.is_calibration_N is not None:
        return table, ""
    groups_N, labels_N, notice = table.groups_N, table.labels_N, ""
    if groups_N is not None:
        num = len(set(groups_N.tolist()))
        if num >= MIN_SLIDES:
            dealer = StratifiedGroupKFold(n_splits=2, shuffle=True, random_state=seed)
            _, held = next(dealer.split(labels_N, labels_N, groups_N.astype(str)))
            is_calibration_N = np.zeros(len(table), bool)
            is_calibration_N[held] = True
            halves = labels_N[is_calibration_N], labels_N[~is_calibration_N]
            if all(len(set(half.tolist())) == 2 for half in halves):
                return replace(table, is_calibration_N=is_calibration_N), ""
            notice = (
                "the slides cannot be dealt into halves that both hold both classes, so patches are divided one by "
            )
            notice += "one: what is chosen on one half has seen slides of the other, and its figures are optimistic"
        else:
            notice = f"found patches of {num} of the at least {MIN_SLIDES} slides wanted, so patches are divided and "
            notice += "resampled one by one and the numbers are optimistic"
    rng = np.random.Generator(np.random.Philox(seed))
    is_calibration_N = np.zeros(len(table), bool)
    for label in (0, 1):
        members = np.flatnonzero(labels_N == label)
        is_calibration_N[rng.permutation(members)[: len(members) // 2]] = True
    return replace(table, is_calibration_N=is_calibration_N), notice


def read(path: Path) -> ScoredTable:
    """Read a table of predictions, Parquet or CSV: `id`, `label`, `logit`, and `group` where slides are known.

    Raises:
        DataError: It cannot be read, lacks a column, names a patch twice, or holds what cannot be measured.
    """
    from fastpath.runs import out_of_fold

    frame = out_of_fold.read(path)
    if "label" not in frame or frame["id"].isna().any() or frame["label"].isna().any():
        lacks = "no column 'label'" if "label" not in frame else "rows without an id or a label"
        raise DataError(path, f"found {lacks}, wanted id, label and logit for every patch", "complete the table")
    known = "group" in frame and bool(frame["group"].notna().all())
    labels, apart = frame["label"], "part" in frame and set(frame["part"]) == {CALIBRATING[0], HELD[0]}
    if not labels.isin((0, 1, -1)).all():
        strange = labels[~labels.isin((0, 1, -1))].iloc[0]
        raise DataError(path, f"found label {strange!r}, wanted 0 or 1", "correct that row")
    table = ScoredTable(
        ids_N=frame["id"].astype(str).to_numpy(object),
        labels_N=labels.to_numpy(np.int8),
        logits_N=frame["logit"].to_numpy(np.float64),
        groups_N=frame["group"].astype(str).to_numpy(object) if known else None,
        history_N=frame[COLUMN].fillna(UNKNOWN).astype(str).to_numpy(object) if COLUMN in frame else None,
        is_calibration_N=(frame["part"] == CALIBRATING[0]).to_numpy(bool) if apart else None,
        apart=apart,
    )
    check(table, path)
    return table


def judged_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the patches of a table that its evaluation judged: not those of a validation split beside a test split."""
    return frame[frame["part"] != CALIBRATING[0]].reset_index(drop=True) if "part" in frame else frame


def to_parquet(table: ScoredTable, calibrated_N: Floats) -> bytes:
    """Return every patch with its scores as Parquet.

    Args:
        table: Divided.
        calibrated_N: Calibrated logits.
    """
    import pyarrow as pa

    assert table.is_calibration_N is not None
    columns = {
        "id": pa.array(table.ids_N.tolist(), pa.string()),
        "group": pa.array([None] * len(table) if table.groups_N is None else table.groups_N.tolist(), pa.string()),
        "label": pa.array(table.labels_N, pa.int8()),
        "part": pa.array(np.where(table.is_calibration_N, *table.part_names).tolist(), pa.string()),
        "logit": pa.array(table.logits_N, pa.float64()),
        "probability": pa.array(metrics.probabilities(table.logits_N), pa.float64()),
        "calibrated": pa.array(metrics.probabilities(calibrated_N), pa.float64()),
    }
    if table.history_N is not None:
        columns[COLUMN] = pa.array(table.history_N.tolist(), pa.string())
    if table.plain_N is not None and table.spread_N is not None:
        columns |= {"plain_logit": pa.array(table.plain_N), "spread": pa.array(table.spread_N)}
    return checked_table.to_bytes(pa.table(columns))
