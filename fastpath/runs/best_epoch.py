"""What a validation AUC is worth where the very patches chose the epoch or the setting: one sentence for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import selection
from fastpath.analysis.seed_comparison import auc_error
from fastpath.config import Config
from fastpath.runs.row_history import HONEST, RowHistory

TRAINED_ON = (
    "validation patches are trained on too (train.include_val): what is measured on them says nothing of new ones"
)


def of_aucs(num_epochs: int, error: float | None, *, num_settings: int = 1, what: str = "validation AUCs are") -> str:
    """Say that AUCs are of the best epochs by them, and by about how much that flatters; nothing without a choice.

    Args:
        num_epochs: Epochs that were chosen among.
        error: Standard error of one AUC on these patches; None where it is not known.
        num_settings: Settings that were compared on them as well; the size is that of the best setting's best epoch.
        what: Of what is spoken.
    """
    num = num_epochs * num_settings
    if num < 2:
        return ""
    chosen = [f"the best of {num_epochs} epochs"] * (num_epochs > 1)
    chosen += [f"the best of {num_settings} settings"] * (num_settings > 1)
    size = ""
    if error is not None and math.isfinite(error):
        equal = "epochs are" if num_settings == 1 else "settings and epochs are"
        size = f", by about {selection.optimism(num, error):.3f} where {equal} equally good"
    return f"{what} of {' and '.join(chosen)}, chosen by these very patches, so optimistic{size}; {HONEST}"


def of_training(config: Config, num_epochs: int, best_auc: float, labels_M: NDArray[np.int8]) -> list[str]:
    """Return what the reader of a run's best validation AUC must know.

    Args:
        config: Of the run.
        num_epochs: Epochs completed.
        best_auc: Of these; below 0 where there is none.
        labels_M: Of the patches that were validated on.
    """
    if config.train.include_val:
        return [TRAINED_ON]
    if best_auc < 0:
        return []
    num_positive = int((labels_M == 1).sum())
    error = auc_error(best_auc, num_positive, len(labels_M) - num_positive)  # at least: slides make it more
    text = of_aucs(num_epochs, error, what="the best validation AUC is")
    return [text.replace("by about", "by at least about")] if text else []


def of_runs(names: Sequence[str], histories: Sequence[RowHistory], errors: Sequence[float]) -> list[str]:
    """Return what the reader of several runs' AUCs on the same patches must know.

    Args:
        names: Of the runs.
        histories: What each has done with the patches.
        errors: Standard error of each AUC; NaN where it is not known.
    """
    chosen = [
        (name, history, error)
        for name, history, error in zip(names, histories, errors, strict=True)
        if history.epoch_N.any() and not history.stopped
    ]
    if not chosen:
        return []
    sizes = [history.optimism(error) for _, history, error in chosen]
    known = [size for size in sizes if size is not None]
    size = f", by about {max(known):.3f} at most where the epochs are equally good" if known else ""
    owners = "each run's" if len(chosen) == len(names) else " and ".join(f"{name}'s" for name, _, _ in chosen)
    notices = [f"{owners} AUC is of the best epoch by these very patches, so optimistic{size}; {HONEST}"]
    numbers = sorted(
        {history.num_epochs if history.epoch_N.any() and not history.stopped else 1 for history in histories}
    )
    shares = {int(history.epoch_N.sum()) for history in histories}
    if len(numbers) > 1 or len(shares) > 1:
        among = f"{numbers[0]} to {numbers[-1]} epochs, on {min(shares):,} to {max(shares):,} of these patches"
        notices.append(f"runs had their epoch chosen among {among}: the one with more to choose from is flattered more")
    return notices
