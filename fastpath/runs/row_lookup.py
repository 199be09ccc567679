"""Look up what a run has done with patches: by its own store and division, by id, pixels or slide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import FastpathError
from fastpath.ingest.loose_patches import LoosePatches
from fastpath.runs import run_choices
from fastpath.runs.mined_training import with_extra
from fastpath.runs.row_history import RowHistory
from fastpath.runs.row_matching import among, of_slides, same_store
from fastpath.runs.run_data import RunData, run_data_of
from fastpath.runs.trained import TrainedRun
from fastpath.store.reader import Store
from fastpath.types import Split


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


def training_rows(trained: TrainedRun) -> tuple[Store, NDArray[np.int64]] | None:
    """Return the run's own store and the rows it was trained on; None where it is gone or holds something else."""
    try:
        store = trained.open_store()
        if trained.differs(store) is not None:
            return None
        return store, run_data_of(store, trained.config).train_rows_N
    except FastpathError:
        return None


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
