"""What was chosen of a run, by the files in and about its directory: epoch, setting of a sweep, calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastpath.engine import journal
from fastpath.errors import FastpathError
from fastpath.runs import calibration_file
from fastpath.runs import run_directory as directory
from fastpath.runs.trained import TrainedRun
from fastpath.system.files import read_regular
from fastpath.types import Split

SWEEP, RUNS = "sweep.json", "runs"
"""What `sweep` writes its settings to, and the folder of its runs beside it."""
_BYTES_MAX = 64 << 20


def choice(trained: TrainedRun) -> tuple[int, bool]:
    """Return how many epochs the weights were chosen among, and whether only the end of training was chosen."""
    checkpoint = trained.checkpoint
    num_epochs = max(trained.config.train.epochs, checkpoint.epoch)
    with suppress(OSError, ValueError, RecursionError):
        # Early stopping may have ended the run before its time.
        num_epochs = len(journal.read(trained.path.parent / directory.JOURNAL)) or num_epochs
    if trained.path.name != directory.LAST and checkpoint.epoch == checkpoint.best_epoch:
        return num_epochs, False
    return (num_epochs, True) if trained.config.train.early_stop_epochs else (1, False)


def calibrated_on(trained: TrainedRun) -> Split | None:
    """Return the part of the store that the run's calibration was fitted on or on a half of; None without one."""
    with suppress(FastpathError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        content = read_regular(trained.path.parent / calibration_file.NAME, bytes_max=_BYTES_MAX, follow=True)
        told: Mapping[str, Any] = json.loads(content).get("fitted_on", {})
        split = told.get("of", told.get("split"))
        return Split.VAL if split == Split.TEST and "of" not in told else Split(split)
    return None


def num_settings(run_dir: Path) -> int:
    """Return how many settings the sweep has whose run lies in this directory; 1 where it is of none."""
    runs = run_dir.absolute().parent.parent
    if runs.name != RUNS:
        return 1
    with suppress(FastpathError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        told = json.loads(read_regular(runs.parent / SWEEP, bytes_max=_BYTES_MAX, follow=False))
        return max(1, len(set(told) - {"store_fingerprint", "precision"}))
    return 1
