"""What a run has done with the patches that are scored: trained on them, or chosen its epoch or setting by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics, selection
from fastpath.errors import FastpathError
from fastpath.ingest.loose_patches import LoosePatches
from fastpath.runs import run_choices
from fastpath.runs.mined_training import with_extra
from fastpath.runs.row_matching import Bools, among, of_slides, same_store
from fastpath.runs.run_data import RunData, run_data_of
from fastpath.runs.trained import TrainedRun
from fastpath.store.reader import Store
from fastpath.types import Split

HONEST = "judge patches kept apart ('fastpath split --test 0.1', then --split test), or the last epoch"
"""What to do where the judged patches chose the epoch."""

COLUMN = "history"
"""Of a table of predictions: one of the words below for each patch."""
TRAINED, SLIDE, EPOCH, UNKNOWN, HELD_OUT = (
    "trained on",
    "of a slide trained on",
    "chose the epoch",
    "unknown",
    "held out",
)


@dataclass(frozen=True, slots=True)
class RowHistory:
    """What a run has done with some patches.

    Attributes:
        trained_N: Trained on, or the same by id or by pixels as one that was.
        slide_N: Of a slide that was trained on, though not trained on themselves. Of the run's own store always False:
            `leak_notice` speaks of its division.
        epoch_N: Chose the epoch of the weights, by their AUC, or when training stopped.
        calibrated_N: Of the part of the store that the calibration in use was fitted on, or on a half of.
        num_epochs: Epochs that were chosen among; 1 where there was no choice, 0 where their number is not known.
        stopped: The choice was when to stop, and the weights are the last epoch's.
        num_settings: Settings of the sweep that the run is one of, compared on the patches that chose the epoch; 1
            without a sweep.
        mined: What is to be said of the table of mined patches that the run was trained with, where validation patches
            are among these; else empty.
        named: The patches were matched by id or pixels, not by their rows in the run's own store.
        unknown: Why nothing tells which patches were trained on; empty where it is known.
    """

    trained_N: Bools
    slide_N: Bools
    epoch_N: Bools
    calibrated_N: Bools
    num_epochs: int = 1
    stopped: bool = False
    num_settings: int = 1
    mined: str = ""
    named: bool = False
    unknown: str = ""

    @property
    def setting_N(self) -> Bools:
        """Chose the setting of a sweep."""
        return self.epoch_N & (self.num_settings > 1)

    @property
    def held_out_N(self) -> Bools:
        """Known to have had no say in the weights, nor in which were taken."""
        if self.unknown:
            return np.zeros_like(self.trained_N)
        return ~(self.trained_N | self.slide_N | self.epoch_N)

    @property
    def words_N(self) -> NDArray[np.object_]:
        """The worst that is true of each patch, for a table."""
        found_N = np.full(len(self.trained_N), UNKNOWN if self.unknown else HELD_OUT, object)
        for word, of_N in ((EPOCH, self.epoch_N), (SLIDE, self.slide_N), (TRAINED, self.trained_N)):
            found_N[of_N] = word
        return found_N

    def of(self, part_N: Bools) -> RowHistory:
        """Return that of some of the patches: bool [N]."""
        names = ("trained_N", "slide_N", "epoch_N", "calibrated_N")
        return replace(self, **{name: getattr(self, name)[part_N] for name in names})

    def facts(self) -> dict[str, Any]:
        """Return counts of patches as plain values, for a file."""
        return {
            "num_patches": len(self.trained_N),
            "num_trained_on": int(self.trained_N.sum()),
            "num_of_trained_slides": int(self.slide_N.sum()),
            "num_chose_epoch": int(self.epoch_N.sum()),
            "num_chose_setting": int(self.setting_N.sum()),
            "num_held_out": int(self.held_out_N.sum()),
            "epochs_chosen_among": self.num_epochs,
            "settings_chosen_among": self.num_settings,
            "unknown": self.unknown or None,
        }

    def optimism(self, auc_error: float | None) -> float | None:
        """Return by how much choosing the epoch raises the AUC of these patches, if all epochs are equally good.

        Args:
            auc_error: Standard error of one epoch's AUC on these patches; None where it is not known.

        Returns:
            In AUC; None where it cannot be told.
        """
        if auc_error is None or not np.isfinite(auc_error) or self.stopped or not self.epoch_N.any():
            return None
        if self.num_epochs < 1:
            return None
        return selection.optimism(self.num_epochs, auc_error)

    def notices(self, *, auc_error: float | None = None, calibrated: bool = False) -> list[str]:
        """Return what the reader of numbers on these patches must know, a sentence each.

        Args:
            auc_error: As for `optimism`.
            calibrated: Speak of the run's calibration, where the numbers use it.
        """
        notices_ = [self._of_training(), self._of_slides(), self._of_epoch(auc_error), self._of_setting(), self.mined]
        if calibrated and self.calibrated_N.any():
            notices_.append(
                f"the calibration was fitted among {_count(self.calibrated_N)}: their probabilities seem better than "
                "those of new patches will be"
            )
        if self.unknown:
            notices_.append(f"nothing tells which of these patches were trained on: {self.unknown}")
        return [text for text in notices_ if text]

    def _of_training(self) -> str:
        if not self.trained_N.any():
            return ""
        also = self.trained_N & self.epoch_N
        verb_phrase = "have the id or the pixels of patches that were trained on" if self.named else "were trained on"
        why = " (train.include_val)" if also.any() and not self.named else ""
        return f"{_count(self.trained_N)} {verb_phrase}{why}: no number on them says how the network does on new ones"

    def _of_slides(self) -> str:
        if not self.slide_N.any():
            return ""
        return f"{_count(self.slide_N)} are of slides that were trained on: numbers on them are optimistic"

    def _of_epoch(self, auc_error: float | None) -> str:
        chose_N = self.epoch_N & ~self.trained_N
        if not chose_N.any():
            return ""
        if self.stopped:
            return f"{_count(chose_N)} decided when training stopped: numbers on them are a little optimistic"
        gained = self.optimism(auc_error)
        size = f", the AUC by about {gained:.3f} where the epochs are equally good" if gained is not None else ""
        chosen = f"{_count(chose_N)} chose the epoch, the best{f' of {self.num_epochs}' * (self.num_epochs > 0)} by "
        chosen += "their AUC"
        return f"{chosen}, so numbers on them are optimistic{size}; {HONEST}"

    def _of_setting(self) -> str:
        chose_N = self.setting_N & ~self.trained_N
        if not chose_N.any():
            return ""
        return (
            f"{_count(chose_N)} compared the {self.num_settings} settings of the sweep that this run is of: if it was "
            "taken for its AUC on them, that is optimistic"
        )


def history_of(
    trained: TrainedRun, patches: Store | LoosePatches, rows_N: NDArray[np.int64], fitted_on: Split | None = None
) -> RowHistory:
    """Return what a run has done with these patches.

    The run's own store and division tell. Patches of another store are looked for by id and by pixels, those of files
    by id.

    Args:
        trained: The run.
        patches: What is scored.
        rows_N: int64, its rows.
        fitted_on: The part of the run's store that the calibration in use was fitted on (`calibration_file.Kept`).
    """
    nobody_N = np.zeros(len(rows_N), bool)
    data, unknown = _data_of(trained, patches)
    if data is None:
        return RowHistory(nobody_N, nobody_N, nobody_N, nobody_N, unknown=unknown)
    trained_N, slide_N = nobody_N.copy(), nobody_N.copy()
    for store, of_N in _sources(data):
        trained_N |= among(patches, rows_N, store, of_N)
        slide_N |= of_slides(patches, rows_N, store, of_N)
    num_epochs, stopped = run_choices.choice(trained)
    chose_N, fitted_N = nobody_N, nobody_N
    if num_epochs > 1:
        chose_N = among(patches, rows_N, data.store, data.val_rows_N)
    if fitted_on is not None:
        fitted_N = among(patches, rows_N, data.store, data.split.rows(fitted_on))
    return RowHistory(
        trained_N=trained_N,
        slide_N=slide_N & ~trained_N,
        epoch_N=chose_N,
        calibrated_N=fitted_N,
        num_epochs=num_epochs,
        stopped=stopped,
        num_settings=run_choices.num_settings(trained.path.parent),
        mined=data.extra_notice if among(patches, rows_N, data.store, data.split.rows(Split.VAL)).any() else "",
        named=not same_store(patches, data.store),
        unknown=unknown,
    )


def error_of(facts: Mapping[str, Any]) -> float | None:
    """Return the standard error of the AUC among the facts of a report; None where its interval tells none."""
    return auc_error(facts["intervals"]["auc"], facts["resampling"]["num_units"])


def auc_error(auc: Mapping[str, float | None], num_units: int) -> float | None:
    """Return the standard error of an AUC from its interval; None where it has none.

    The interval reaches Student's quantile for so many units times the error to both sides on the logit scale.

    Args:
        auc: `value`, `low` and `high`; None or NaN where undefined.
        num_units: What was resampled.
    """
    from scipy.special import stdtrit

    value, low, high = (np.nan if auc[name] is None else float(auc[name] or 0.0) for name in ("value", "low", "high"))
    if not np.isfinite([value, low, high]).all() or num_units < 2:
        return None
    ends = metrics.logits(np.array([low, high]))
    reach = 2 * stdtrit(num_units - 1, 0.5 + intervals.LEVEL / 2)
    return float(np.ptp(ends) / reach * value * (1 - value))


def of_slide(trained: TrainedRun, name: str) -> str:
    """Return what the reader of numbers on a slide must know: whether its patches were trained on; empty where not.

    Args:
        trained: The run.
        name: The slide, as patches' groups are called.
    """
    data, unknown = _data_of(trained, None)
    if data is None or data.store.groups_N is None:
        unknown = unknown or "the slides of its patches are unknown"
        return f"nothing tells whether patches of this slide were trained on: {unknown}"
    if any(name in set(store.groups_N[of_N]) for store, of_N in _sources(data) if store.groups_N is not None):
        return f"patches of slide {name} were trained on: no number on it says how the network does on new slides"
    if run_choices.choice(trained)[0] > 1 and name in set(data.store.groups_N[data.val_rows_N]):
        return f"patches of slide {name} chose the epoch, so numbers on it are optimistic"
    return ""


def _data_of(trained: TrainedRun, patches: Store | LoosePatches | None) -> tuple[RunData | None, str]:
    """Return what the run was trained on; None, with the reason, where that cannot be told. The reason may be partial.

    Where only the table of mined patches is gone, the rest is returned with it.
    """
    own = trained.checkpoint.store_fingerprint
    try:
        same = isinstance(patches, Store) and patches.fingerprint == own
        store = patches if isinstance(patches, Store) and same else trained.open_store()
        difference = trained.differs(store)
        if difference is not None and same:  # scored by another split than the run's
            store = store.with_split(trained.split_file)
            difference = trained.differs(store)
    except FastpathError as error:
        return None, f"the run's own store is not at hand ({error.problem})"
    if difference is not None:
        what = difference[0]
        return None, f"the run's own store was {'packed' if what == 'store' else 'divided'} anew since"
    data = run_data_of(store, trained.config)
    try:
        return with_extra(data, trained.config), ""
    except FastpathError as error:
        return data, f"the run's table of mined patches is not at hand ({error.problem})"


def _sources(data: RunData) -> list[tuple[Store, NDArray[np.int64]]]:
    """Return each store that patches were trained on of, with their rows there."""
    if data.joined is None:
        return [(data.store, data.train_rows_N)]
    return [(store, rows_N) for store, _, rows_N in data.joined.parts(data.train_rows_N)]


def _count(of_N: Bools) -> str:
    """Return how many patches something is said of."""
    num, total = int(of_N.sum()), len(of_N)
    return f"all {total:,} patches" if num == total else f"{num:,} of {total:,} patches"
