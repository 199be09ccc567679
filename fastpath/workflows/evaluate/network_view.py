"""What a network makes of the few patches that a report shows: its spread over views, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import combine
from fastpath.errors import UsageError
from fastpath.figures import attribution_overlay
from fastpath.model import attribution
from fastpath.runs import inference
from fastpath.runs.report_table import Floats
from fastpath.runs.score_views import score_views
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.store.reader import Store


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network at hand, beside its scores.

    Attributes:
        run: Its weights and configuration.
        store: Where the patches lie.
        runtime: Device and precision.
    """

    run: TrainedRun
    store: Store
    runtime: Runtime

    def spread(self, rows_K: NDArray[np.int64]) -> Floats:
        """Return the standard deviation of the logits of the eight views, float64 [K], of these rows of the store."""
        return combine.spread(score_views(self.run, self.store, rows_K, self.runtime, "d4"))

    def attributed(self, rows_K: NDArray[np.int64], patches_KHWC: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return the patches with HiResCAM laid over them; None of a network without feature maps, or of no patches."""
        if not len(rows_K):
            return None
        model = self.runtime.prepare(self.run.network())
        try:
            maps = [
                attribution.attribute(model, batch.images_NCHW, "hirescam")
                for batch in inference.batches(self.run, self.store, rows_K, self.runtime)
            ]
        except UsageError:  # a network without feature maps has no such maps; the rest of the report stands
            return None
        return attribution_overlay.overlay(patches_KHWC, np.concatenate(maps))
