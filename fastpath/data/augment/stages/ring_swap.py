"""All but the centre of another training patch: a partner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment.artefacts import FLAG, Columns, Floats, Parameters, Stage


class RingSwap(Stage):
    """Parameters: `partner` float64 [N], which of the training rows lends all but the centre, 0 to 1; -1 is none."""

    columns: ClassVar = {"gate": 26, "partner": 27}
    inputs: ClassVar = {"swapped": FLAG}
    on_ring = True
    shown: ClassVar = {"partner": "ring_partner"}

    def draw(self, policy: AugmentConfig, asked_N: NDArray[np.bool_], uniform: Mapping[str, Floats]) -> Parameters:
        """See `Stage.draw`."""
        return {"partner": np.where(asked_N, uniform["partner"], -1.0)}

    def prepare(self, drawn: Parameters, probes_NK3: NDArray[np.float32]) -> Columns:
        """See `Stage.prepare`; which images the partners are is told by `partner_rows`."""
        return {"swapped": drawn["partner"] >= 0}

    def apply(self, dali: Any, images: Any, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """See `Stage.apply`."""
        swapped = inputs["swapped"]
        if swapped:
            images = inputs["partners"]
        return images


STAGE = RingSwap()


def partner_rows(
    drawn: Mapping[str, Parameters], rows_N: NDArray[np.int64], rows_M: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the row of the patch whose ring each sample shows: its own, or any of the training rows `rows_M`.

    Args:
        drawn: The samples' parameters by stage; without this one, each shows its own.
        rows_N: The samples' rows.
        rows_M: The training rows.
    """
    if "ring_swap" not in drawn:
        return rows_N
    partner_N = drawn["ring_swap"]["partner"]
    lent_N = rows_M[(np.maximum(partner_N, 0) * len(rows_M)).astype(np.int64)]
    return np.where(partner_N < 0, rows_N, lent_N)
