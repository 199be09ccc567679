"""What a run has done with the patches that are scored: trained on them, or chosen its epoch or setting by them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals, metrics, selection
from fastpath.engine import journal
from fastpath.errors import FastpathError
from fastpath.files import read_regular
from fastpath.shards.reader import Store
from fastpath.workflows import run_directory as directory
from fastpath.workflows.extra import with_extra
from fastpath.workflows.loose_patches import LoosePatches
from fastpath.workflows.run_data import RunData, run_data_of
from fastpath.workflows.trained import TrainedRun

Bools = NDArray[np.bool_]

HONEST = "judge patches kept apart ('fastpath split --test 0.1', then --split test), or the last epoch"
"""What to do where the judged patches chose the epoch."""

_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class RowHistory:
    """What a run has done with some patches.

    Attributes:
        trained_N: Trained on, or the same by id or by pixels as one that was.
        slide_N: Of a slide that was trained on, though not trained on themselves. Of the run's own store always False:
            `leak_notice` speaks of its division.
        epoch_N: Chose the epoch of the weights, by their AUC, or when training stopped.
        calibrated_N: Of the part of the store that the run's `calibration.json` was fitted on, or on a half of.
        num_epochs: Epochs that were chosen among; 1 where there was no choice.
        stopped: The choice was when to stop, and the weights are the last epoch's.
        num_settings: Settings of the sweep that the run is one of, compared on the patches that chose the epoch; 1
            without a sweep.
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
        return selection.optimism(self.num_epochs, auc_error)

    def notices(self, *, auc_error: float | None = None, calibrated: bool = False) -> list[str]:
        """Return what the reader of numbers on these patches must know, a sentence each.

        Args:
            auc_error: As for `optimism`.
            calibrated: Speak of the run's calibration, where the numbers use it.
        """
        told = [self._of_training(), self._of_slides(), self._of_epoch(auc_error), self._of_setting()]
        if calibrated and self.calibrated_N.any():
            told.append(
                f"the calibration was fitted among {_count(self.calibrated_N)}: their probabilities seem better than "
                "those of new patches will be"
            )
        if self.unknown:
            told.append(f"nothing tells which of these patches were trained on: {self.unknown}")
        return [text for text in told if text]

    def _of_training(self) -> str:
        if not self.trained_N.any():
            return ""
        also = self.trained_N & self.epoch_N
        how = "have the id or the pixels of patches that were trained on" if self.named else "were trained on"
        why = " (train.include_val)" if also.any() and not self.named else ""
        return f"{_count(self.trained_N)} {how}{why}: no number on them says how the network does on new ones"

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
        chosen = f"{_count(chose_N)} chose the epoch, the best of {self.num_epochs} by their AUC"
        return f"{chosen}, so numbers on them are optimistic{size}; {HONEST}"

    def _of_setting(self) -> str:
        chose_N = self.setting_N & ~self.trained_N
        if not chose_N.any():
            return ""
        return (
            f"{_count(chose_N)} compared the {self.num_settings} settings of the sweep that this run is of: if it was "
            "taken for its AUC on them, that is optimistic"
        )


def history_of(trained: TrainedRun, patches: Store | LoosePatches, rows_N: NDArray[np.int64]) -> RowHistory:
    """Return what a run has done with these patches.

    The run's own store and division tell. Patches of another store are looked for by id and by pixels, those of files
    by id.

    Args:
        trained: The run.
        patches: What is scored.
        rows_N: int64, its rows.
    """
    nobody_N = np.zeros(len(rows_N), bool)
    data, unknown = _data_of(trained, patches)
    if data is None:
        return RowHistory(nobody_N, nobody_N, nobody_N, nobody_N, unknown=unknown)
    trained_N, slide_N = nobody_N.copy(), nobody_N.copy()
    for store, of_N in _sources(data):
        trained_N |= _among(patches, rows_N, store, of_N)
        slide_N |= _of_slides(patches, rows_N, store, of_N)
    num_epochs, stopped = _choice(trained)
    chose_N, fitted_N = nobody_N, nobody_N
    if num_epochs > 1:
        chose_N = _among(patches, rows_N, data.store, data.val_rows_N)
    part = _calibrated_on(trained)
    if part is not None:
        fitted_N = _among(patches, rows_N, data.store, data.split.rows(part))
    return RowHistory(
        trained_N=trained_N,
        slide_N=slide_N & ~trained_N,
        epoch_N=chose_N,
        calibrated_N=fitted_N,
        num_epochs=num_epochs,
        stopped=stopped,
        num_settings=_num_settings(trained.path.parent),
        named=not _is(patches, data.store),
        unknown=unknown,
    )


def error_of(facts: Mapping[str, Any]) -> float | None:
    """Return the standard error of an AUC from its interval among the facts of a report; None where it has none.

    The interval reaches Student's quantile for so many units times the error to both sides on the logit scale.
    """
    from scipy.special import stdtrit

    auc, num_units = facts["intervals"]["auc"], facts["resampling"]["num_units"]
    if auc["low"] is None or num_units < 2:
        return None
    ends = metrics.logits(np.array([auc["low"], auc["high"]]))
    reach = 2 * stdtrit(num_units - 1, 0.5 + intervals.LEVEL / 2)
    return float(np.ptp(ends) / reach * auc["value"] * (1 - auc["value"]))


def _data_of(trained: TrainedRun, patches: Store | LoosePatches) -> tuple[RunData | None, str]:
    """Return what the run was trained on; None, with the reason, where that cannot be told. The reason may be partial.

    Where only the table of mined patches is gone, the rest is returned with it.
    """
    own = trained.checkpoint.store_fingerprint
    try:
        store = patches if isinstance(patches, Store) and patches.fingerprint == own else trained.open_store()
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


def _is(patches: Store | LoosePatches, store: Store) -> bool:
    return isinstance(patches, Store) and patches.fingerprint == store.fingerprint


def _among(patches: Store | LoosePatches, rows_N: NDArray[np.int64], store: Store, of_N: NDArray[np.int64]) -> Bools:
    """Return which patches are among those rows of a store: bool [N]."""
    if _is(patches, store):
        return np.isin(rows_N, of_N)
    found_N = _in(patches.ids_N[rows_N], store.ids_N[of_N])
    if isinstance(patches, Store):
        # The first half of a hash is enough: two of a million patches share one by chance in 4e-8 of all cases.
        found_N |= np.isin(patches.hash_halves_N2[rows_N, 0], store.hash_halves_N2[of_N, 0])
    return found_N


def _of_slides(
    patches: Store | LoosePatches, rows_N: NDArray[np.int64], store: Store, of_N: NDArray[np.int64]
) -> Bools:
    """Return which patches of another store are of a slide that these rows of a store are of: bool [N]."""
    if _is(patches, store) or not isinstance(patches, Store) or patches.groups_N is None or store.groups_N is None:
        return np.zeros(len(rows_N), bool)
    return _in(patches.groups_N[rows_N], store.groups_N[of_N])


def _in(names_N: NDArray[np.object_], of_N: NDArray[np.object_]) -> Bools:
    wanted = set(of_N.tolist())
    return np.fromiter((name in wanted for name in names_N.tolist()), bool, len(names_N))


def _choice(trained: TrainedRun) -> tuple[int, bool]:
    """Return how many epochs the weights were chosen among, and whether only the end of training was chosen."""
    checkpoint = trained.checkpoint
    num_epochs = max(trained.config.train.epochs, checkpoint.epoch)
    with suppress(OSError, ValueError, RecursionError):
        # Early stopping may have ended the run before its time.
        num_epochs = len(journal.read(trained.path.parent / directory.JOURNAL)) or num_epochs
    if trained.path.name != directory.LAST and checkpoint.epoch == checkpoint.best_epoch:
        return num_epochs, False
    return (num_epochs, True) if trained.config.train.early_stop_epochs else (1, False)


def _calibrated_on(trained: TrainedRun) -> Any:  # noqa: ANN401 (a Split, of a file)
    """Return the part of the store that the run's calibration was fitted on or on a half of; None without one."""
    from fastpath.types import Split
    from fastpath.workflows import calibrated

    with suppress(FastpathError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        content = read_regular(trained.path.parent / calibrated.NAME, bytes_max=_BYTES_MAX, follow=True)
        told: Mapping[str, Any] = json.loads(content).get("fitted_on", {})
        split = told.get("of", told.get("split"))
        return Split.VAL if split == Split.TEST and "of" not in told else Split(split)
    return None


def _num_settings(run_dir: Path) -> int:
    """Return how many settings the sweep has whose run lies in this directory; 1 where it is of none."""
    from fastpath.workflows.sweep import RUNS, SWEEP

    runs = run_dir.absolute().parent.parent
    if runs.name != RUNS:
        return 1
    with suppress(FastpathError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        told = json.loads(read_regular(runs.parent / SWEEP, bytes_max=_BYTES_MAX, follow=False))
        return max(1, len(set(told) - {"store_fingerprint", "precision"}))
    return 1


def _count(of_N: Bools) -> str:
    """Return how many patches something is said of."""
    num, total = int(of_N.sum()), len(of_N)
    return f"all {total:,} patches" if num == total else f"{num:,} of {total:,} patches"
