"""JPEG artefacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment.artefacts import WHOLE_NUMBER, Columns, Floats, Parameters, Stage


class Jpeg(Stage):
    """Parameters: `quality` int64 [N], 1 to 100; 0 is no artefacts."""

    columns: ClassVar = {"gate": 15, "quality": 16}
    inputs: ClassVar = {"quality": WHOLE_NUMBER}

    def draw(self, policy: AugmentConfig, asked_N: NDArray[np.bool_], uniform: Mapping[str, Floats]) -> Parameters:
        """See `Stage.draw`."""
        worst, best = policy.jpeg_quality
        quality_N = worst + (uniform["quality"] * (best - worst + 1)).astype(np.int64)
        return {"quality": quality_N * asked_N}

    def prepare(self, drawn: Parameters, probes_NK3: NDArray[np.float32]) -> Columns:
        """See `Stage.prepare`."""
        return {"quality": drawn["quality"].astype(np.int32)}

    def apply(self, dali: Any, images: Any, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """See `Stage.apply`."""
        quality = inputs["quality"]
        if quality > 0:
            images = dali.fn.jpeg_compression_distortion(images, quality=quality)
        return images


STAGE = Jpeg()
