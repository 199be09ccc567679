"""The proof that what is exported computes what the run does, on the run's own patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.calibration import Calibrator
from fastpath.engine.tta import predict_views
from fastpath.errors import FastpathError, IntegrityError
from fastpath.model.export_formats import Compute
from fastpath.runs.inference import batches
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.store.reader import Store
from fastpath.store.split_table import read_split
from fastpath.types import Split, Tta

Advance = Callable[[int, int], None]

TOLERANCE = 1e-3
"""Largest difference in logits between the file and the run that is accepted."""

CHECKED = 1000
"""Patches compared, where the split has that many."""

_BATCHES = (1, 33, 64)  # sizes tried: the first dimension must be free


@dataclass(frozen=True, slots=True)
class Reference:
    """The run as every other command computes it: through the DALI graph, a view at a time.

    Attributes:
        trained: The run.
        store: Patches to compare on.
        tta: Whether the eight views are averaged.
        calibrator: Applied to the mean logit.
        runtime: Device and precision.
        check: Patches to compare.
    """

    trained: TrainedRun
    store: Store
    tta: Tta
    calibrator: Calibrator
    runtime: Runtime
    check: int

    def logits(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return rows of the store and their calibrated logits."""
        rows_N = _rows(self.store, self.check)
        seen = batches(self.trained, self.store, rows_N, self.runtime)
        model, num_views = self.runtime.prepare(self.trained.network()), 8 if self.tta == "d4" else 1
        views = predict_views(model, seen, self.runtime, len(rows_N), num_views=num_views)
        return rows_N, self.calibrator.apply(views.logits_NV.astype(np.float64).mean(axis=1))


def compare_with_reference(compute: Compute, reference: Reference, advance: Advance | None) -> tuple[int, float]:
    """Return how many patches were compared and the largest difference in calibrated logits.

    Raises:
        IntegrityError: The difference is larger than `TOLERANCE`.
    """
    rows_N, wanted_N = reference.logits()
    worst, done, turn, total = 0.0, 0, 0, len(rows_N)
    while done < total:
        rows = slice(done, done + _BATCHES[min(turn, len(_BATCHES) - 1)])
        found_N = compute(reference.store.gather(rows_N[rows]))
        worst = max(worst, float(np.abs(found_N - wanted_N[rows]).max()))
        done, turn = min(rows.stop, total), turn + 1
        if advance is not None:
            advance(done, total)
    if not worst <= TOLERANCE:
        problem = f"found logits that differ by up to {worst:.3g} from the run's, wanted at most {TOLERANCE:g}"
        raise IntegrityError("export", problem, "export to another format, and report this with the model's name")
    return total, worst


def _rows(store: Store, check: int) -> NDArray[np.int64]:
    """Return rows to compare on: validation patches first, then others."""
    try:
        val_rows = read_split(store).rows(Split.VAL)
    except FastpathError:
        val_rows = np.empty(0, np.int64)
    others = np.setdiff1d(np.arange(len(store)), val_rows)
    return np.concatenate([val_rows, others])[:check]
