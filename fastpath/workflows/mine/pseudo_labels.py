"""What labelling unlabelled patches rests on: which of them may get a label, and how probabilities are calibrated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastpath.analysis import calibration
from fastpath.analysis.calibration import Calibrator
from fastpath.runs import calibration_file, out_of_fold
from fastpath.runs.mined_training import held_out_twins
from fastpath.runs.run_data import RunData
from fastpath.runs.trained import TrainedRun
from fastpath.store.reader import Store


def unlabelled(data: RunData, store: Store) -> np.ndarray:
    """Return the rows of a store that may get a label: int64."""
    rows_N = np.flatnonzero(store.labels_N < 0).astype(np.int64)
    return np.asarray(rows_N[~held_out_twins(data.store, data.split, store, rows_N)])


def calibrator(
    trained: TrainedRun, data: RunData, predictions: Path | None, notices: list[str], *, needed: bool
) -> Calibrator:
    """Return the run's calibration; else one of its out-of-fold predictions; else none, and say so."""
    if not needed:
        return calibration.IDENTITY
    kept = calibration_file.load(trained.path, "none", "logits")
    if not kept.missing:
        notices.extend(kept.notices)
        return kept.calibrator
    if predictions is not None:
        # Of the patches that the labelling network did not see.
        logits_N = out_of_fold.logits_of(out_of_fold.read(predictions), predictions, data.store, data.val_rows_N)
        return calibration.fit(calibration.DEFAULT, data.store.labels_N[data.val_rows_N], logits_N)
    notices.append(f"labels are given by raw probability: {kept.missing}")
    return calibration.IDENTITY
