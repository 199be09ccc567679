"""What a model card says of the data: who is in it, what the label means, how weights and thresholds were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import FastpathError
from fastpath.ingest.split import leak_notice
from fastpath.runs import run_choices
from fastpath.runs.run_data import run_data_of
from fastpath.runs.trained import TrainedRun
from fastpath.store.format import UNLABELLED
from fastpath.store.reader import Store
from fastpath.store.split_table import read_split
from fastpath.types import CENTRE, Split

CENTRE_LABEL = (
    "as PatchCamelyon defines it (Veeling et al. 2018): tumour where at least one pixel of the middle {middle} by "
    "{middle} of {side} by {side} pixels is tumour; what surrounds it says nothing of the label"
)
_CENTRE_KINDS = ("kaggle", "pcam")


def population(trained: TrainedRun) -> dict[str, Any]:
    """Return counts by part of the store that the run was trained on; with the reason where it is not at hand."""
    try:
        store = trained.open_store()
        difference = trained.differs(store)
    except FastpathError:
        return {"unknown": "the store is not at hand"}
    if difference is not None:
        return {"unknown": f"the store was {'packed' if difference[0] == 'store' else 'divided'} anew since"}
    table, data = read_split(store), run_data_of(store, trained.config)
    parts = {f"{split} split": _counts(store, table.rows(split)) for split in Split}
    sites = None if store.sites_N is None else len(set(store.sites_N.tolist()))
    return {
        "source": dict(store.manifest.source),
        "parts": {"trained on": _counts(store, data.train_rows_N)} | {name: of for name, of in parts.items() if of},
        "num_unlabelled": int((store.labels_N == UNLABELLED).sum()),
        "num_sites": sites,
        "flags": {name: num for name, num in store.manifest.flag_counts.items() if num},
        "split_kind": str(table.kind),
        "leak": leak_notice(store, table) or "",
    }


def _counts(store: Store, rows_N: NDArray[np.int64]) -> dict[str, Any]:
    """Return patches, tumour patches and slides of some rows; nothing where there are none."""
    if not len(rows_N):
        return {}
    num_tumour = int((store.labels_N[rows_N] == 1).sum())
    slides = None if store.groups_N is None else len(set(store.groups_N[rows_N].tolist()))
    return {
        "num_patches": len(rows_N),
        "num_tumour": num_tumour,
        "prevalence": num_tumour / len(rows_N),
        "num_slides": slides,
    }


def label_definition(manifest: Mapping[str, Any], patch_px: int) -> str | None:
    """Return what a label means where the kind of the source tells; None where nothing does."""
    if manifest.get("source", {}).get("kind") not in _CENTRE_KINDS:
        return None
    middle = CENTRE.pixels(patch_px)
    return CENTRE_LABEL.format(middle=middle.stop - middle.start, side=patch_px)


def selection(trained: TrainedRun, fitted_on: Split | None = None) -> dict[str, Any]:
    """Return what was chosen of the run, on what, and the same as sentences.

    Args:
        trained: The run.
        fitted_on: The part of the store that the calibration in use was fitted on; None without one.
    """
    num_epochs, stopped = run_choices.choice(trained)
    num_settings = run_choices.num_settings(trained.path.parent)
    notices = []
    if stopped:
        notices.append("training was stopped by the AUC of the validation split; the weights are the last epoch's")
    elif num_epochs > 1:
        notices.append(f"the weights are of the best of {num_epochs} epochs by the AUC of the validation split")
    else:
        notices.append("no epoch was chosen")
    if num_settings > 1:
        notices.append(f"the run is of a sweep that compared {num_settings} settings on the validation split")
    if trained.config.train.include_val:
        notices.append("the validation split was trained on too (train.include_val)")
    if fitted_on is not None:
        notices.append(f"the calibration was fitted on the {fitted_on} split, or a half of it")
    return {
        "epochs_chosen_among": num_epochs,
        "stopped_early": stopped,
        "settings_chosen_among": num_settings,
        "calibrated_on": None if fitted_on is None else str(fitted_on),
        "told": notices,
    }
