"""All but the centre out of focus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment.artefacts import Floats, Parameters, between
from fastpath.data.augment.stages.blur import Blur


class RingBlur(Blur):
    """Parameters as `Blur`'s."""

    columns: ClassVar = {"gate": 17, "sigma": 18}
    on_ring = True
    shown: ClassVar = {"sigma_px": "ring_blur_px"}

    def draw(self, policy: AugmentConfig, asked_N: NDArray[np.bool_], uniform: Mapping[str, Floats]) -> Parameters:
        """See `Stage.draw`."""
        return {"sigma_px": between(policy.ring_blur_sigma_px, uniform["sigma"]) * asked_N}


STAGE = RingBlur()
