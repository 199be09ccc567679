"""What was chosen of a run, by the files in and about its directory: epoch and setting of a sweep."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from fastpath.engine import journal
from fastpath.errors import FastpathError
from fastpath.runs import run_directory as directory
from fastpath.runs.trained import TrainedRun
from fastpath.system.files import read_regular

SWEEP, RUNS = "sweep.json", "runs"
"""What `sweep` writes its settings to, and the folder of its runs beside it."""
_BYTES_MAX = 64 << 20


def epochs_trained(trained: TrainedRun) -> int:
    """Return how many epochs the run has trained for, whichever of them the weights are of."""
    num_epochs = max(trained.config.train.epochs, trained.checkpoint.epoch)
    with suppress(OSError, ValueError, RecursionError):
        # Early stopping may have ended the run before its time.
        num_epochs = len(journal.read(trained.path.parent / directory.JOURNAL)) or num_epochs
    return num_epochs


def choice(trained: TrainedRun) -> tuple[int, bool]:
    """Return how many epochs the weights were chosen among, and whether only the end of training was chosen."""
    checkpoint, num_epochs = trained.checkpoint, epochs_trained(trained)
    if trained.path.name != directory.LAST and checkpoint.epoch == checkpoint.best_epoch:
        return num_epochs, False
    return (num_epochs, True) if trained.config.train.early_stop_epochs else (1, False)


def num_settings(run_dir: Path) -> int:
    """Return how many settings the sweep has whose run lies in this directory; 1 where it is of none."""
    runs = run_dir.absolute().parent.parent
    if runs.name != RUNS:
        return 1
    with suppress(FastpathError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        document = json.loads(read_regular(runs.parent / SWEEP, bytes_max=_BYTES_MAX, follow=False))
        return max(1, len(set(document) - {"store_fingerprint", "precision"}))
    return 1
