"""A patch out of focus: a Gaussian blur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment.artefacts import NUMBER, Columns, Floats, Parameters, Stage, between


class Blur(Stage):
    """Parameters: `sigma_px` float64 [N], standard deviation in pixels of the patch; 0 is none."""

    columns: ClassVar = {"gate": 9, "sigma": 10}
    inputs: ClassVar = {"sigma_px": NUMBER}
    shown: ClassVar = {"sigma_px": "blur_px"}

    def draw(self, policy: AugmentConfig, asked_N: NDArray[np.bool_], uniform: Mapping[str, Floats]) -> Parameters:
        """See `Stage.draw`."""
        return {"sigma_px": between(policy.blur_sigma_px, uniform["sigma"]) * asked_N}

    def prepare(self, drawn: Parameters, probes_NK3: NDArray[np.float32]) -> Columns:
        """See `Stage.prepare`."""
        return {"sigma_px": drawn["sigma_px"].astype(np.float32)}

    def apply(self, dali: Any, images: Any, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """See `Stage.apply`."""
        sigma = inputs["sigma_px"]
        if sigma > 0:
            images = dali.fn.gaussian_blur(images, sigma=sigma)
        return images


STAGE = Blur()
