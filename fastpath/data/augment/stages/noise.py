"""Normal noise on every value: a window of a field drawn once from the seed, at a place of each sample's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment.artefacts import NUMBER, Columns, Floats, Parameters, Stage, between
from fastpath.data.order import NOISE_STREAM, generator

NOISE_LEVELS = 32  # steps of the noise field per standard deviation; a byte then reaches 4 deviations
NOWHERE = -1.0  # the place in the field of what has no noise
FIELD_PX = 512  # side of the field of noise beyond the side of a patch: 262,144 places to take a patch's from


class Noise(Stage):
    """Parameters of N samples.

    `sd` float64 [N], standard deviation in grey levels, 0 is none; `place` float64 [N, 2], where in the field the
    patch's lies, 0 to 1.
    """

    columns: ClassVar = {"gate": 11, "sd": 12, "place": slice(13, 15)}
    inputs: ClassVar = {"window": ("HWC", np.int8), "amplitude": NUMBER}

    def draw(self, policy: AugmentConfig, asked_N: NDArray[np.bool_], uniform: Mapping[str, Floats]) -> Parameters:
        """See `Stage.draw`."""
        return {"sd": between(policy.noise_sd, uniform["sd"]) * asked_N, "place": uniform["place"]}

    def prepare(self, drawn: Parameters, probes_NK3: NDArray[np.float32]) -> Columns:
        """See `Stage.prepare`; the place stands for the window, which takes much more memory."""
        sd_N = drawn["sd"]
        places_N2 = np.where(sd_N[:, None] > 0, drawn["place"], NOWHERE)
        return {"window": places_N2, "amplitude": (sd_N / NOISE_LEVELS).astype(np.float32)}

    def finisher(self, seed: int, patch_px: int) -> Callable[[Columns], dict[str, Any]]:
        """See `Stage.finisher`: places in the field become windows of it, empty where there is no noise."""
        field = noise_field(seed, patch_px)

        def finish(columns: Columns) -> dict[str, Any]:
            windows = [noise_window(field, place, patch_px * bool(place[0] >= 0)) for place in columns["window"]]
            return {"window": windows, "amplitude": columns["amplitude"]}

        return finish

    def apply(self, dali: Any, images: Any, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """See `Stage.apply`."""
        window, amplitude = inputs["window"], inputs["amplitude"]
        if amplitude > 0:
            moved = window.gpu() if images.device == "gpu" else window
            images = dali.fn.cast(images + moved * amplitude, dtype=dali.types.UINT8)  # rounds, and clips to 0 to 255
        return images


STAGE = Noise()


def noise_field(seed: int, patch_px: int) -> NDArray[np.int8]:
    """Return normal noise, int8 [S, S, 3], of which each sample takes a window at a place of its own.

    Drawing 27,648 normal values a sample would cost the host as much as all else it does; a field is drawn once. Two
    samples see the same noise only where they draw the same of a quarter million places.

    Args:
        seed: The run's seed.
        patch_px: Side of a patch.
    """
    side = FIELD_PX + patch_px
    field = generator(seed, NOISE_STREAM, 0).standard_normal((side, side, 3), dtype=np.float32)
    return np.asarray(np.clip(np.rint(field * NOISE_LEVELS), -127, 127).astype(np.int8))


def noise_window(field: NDArray[np.int8], place_2: NDArray[np.float64], patch_px: int) -> NDArray[np.int8]:
    """Return the window of the field, int8 [patch_px, patch_px, 3], at a place given in shares of the field."""
    top, left = (int(share * FIELD_PX) for share in place_2)
    return np.ascontiguousarray(field[top : top + patch_px, left : left + patch_px])
