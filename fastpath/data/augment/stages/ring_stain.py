"""All but the centre in another stain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment.artefacts import FLAG, NUMBER, Columns, Floats, Parameters, Stage
from fastpath.data.augment.colour import stain_matrices
from fastpath.data.augment.draw import SAME_STAIN, stain_changes


class RingStain(Stage):
    """Parameters: `change` float64 [N, 2, 3], factors and shifts of the optical densities of the three stains."""

    columns: ClassVar = {"gate": 19, "change": slice(20, 26)}
    inputs: ClassVar = {"restained": FLAG, "matrix": NUMBER}
    on_ring = True
    shown: ClassVar = {"change": "ring_stain"}

    def draw(self, policy: AugmentConfig, asked_N: NDArray[np.bool_], uniform: Mapping[str, Floats]) -> Parameters:
        """See `Stage.draw`."""
        change_N23 = stain_changes(policy.ring_stain, uniform["change"])
        return {"change": np.where(asked_N[:, None, None], change_N23, SAME_STAIN)}

    def prepare(self, drawn: Parameters, probes_NK3: NDArray[np.float32]) -> Columns:
        """See `Stage.prepare`."""
        change_N23 = drawn["change"]
        restained_N = (change_N23 != SAME_STAIN).any(axis=(1, 2))
        return {"restained": restained_N, "matrix": stain_matrices(probes_NK3, change_N23)}

    def apply(self, dali: Any, images: Any, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """See `Stage.apply`."""
        restained = inputs["restained"]
        if restained:
            images = dali.fn.coord_transform(images, MT=inputs["matrix"], dtype=dali.types.UINT8)
        return images


STAGE = RingStain()
