"""What a run has done with the patches that are scored: trained on them, or chosen its epoch or setting by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics, selection

if TYPE_CHECKING:
    import pandas as pd

Bools = NDArray[np.bool_]

HONEST = "judge patches kept apart (--split test, once 'fastpath split --test 0.1' has kept some), or the last epoch"
"""What to do where the judged patches chose the epoch."""

COLUMN = "history"
"""Of a table of predictions: one of the words below for each patch."""
UNTOLD = f"the table has no column '{COLUMN}', so nothing tells whether its patches were trained on or chosen by"
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


def of_words(words_N: NDArray[np.object_]) -> RowHistory:
    """Return what a table says of its patches by the words of its column `COLUMN`; any other word is none it knows."""
    trained_N, slide_N, epoch_N = (np.asarray(words_N == word, bool) for word in (TRAINED, SLIDE, EPOCH))
    num_unknown = int((~(trained_N | slide_N | epoch_N) & (words_N != HELD_OUT)).sum())
    unknown = f"the table does not know it of {num_unknown:,} of them" if num_unknown else ""
    nobody_N = np.zeros(len(words_N), bool)
    return RowHistory(trained_N, slide_N, epoch_N, nobody_N, num_epochs=0, unknown=unknown)


def of_table(frame: pd.DataFrame) -> list[str]:
    """Return what the reader of numbers on a table's patches must know, by its column `COLUMN`."""
    if COLUMN not in frame:
        return [UNTOLD]
    return of_words(frame[COLUMN].fillna(UNKNOWN).astype(str).to_numpy(object)).notices()


def worst(histories: Sequence[RowHistory]) -> NDArray[np.object_]:
    """Return the worst word that is true of each patch for any of several runs: an average of them knows it too."""
    found_N = np.full(len(histories[0].trained_N), HELD_OUT, object)
    for word in (UNKNOWN, EPOCH, SLIDE, TRAINED):
        for history in histories:
            found_N[history.words_N == word] = word
    return found_N


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


def _count(of_N: Bools) -> str:
    """Return how many patches something is said of."""
    num, total = int(of_N.sum()), len(of_N)
    return f"all {total:,} patches" if num == total else f"{num:,} of {total:,} patches"
