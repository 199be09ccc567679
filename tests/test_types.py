"""The labelled centre is one square, whoever keeps, hides, measures or frames it."""

from __future__ import annotations

import numpy as np
import pytest

from fastpath.config import parse
from fastpath.data.augment import draw
from fastpath.figures import patch_figures
from fastpath.model import attribution
from fastpath.types import CENTRE
from fastpath.workflows.explain.occlusion import Masked
from fastpath.workflows.show import show_samples


@pytest.mark.parametrize(("side", "edges", "pixels"), [(96, (32, 64), (32, 64)), (224, (224 / 3, 448 / 3), (74, 150))])
def test_it_is_a_third_of_the_side(side: int, edges: tuple[float, float], pixels: tuple[int, int]) -> None:
    assert CENTRE.edges(side) == pytest.approx(edges)
    assert (CENTRE.pixels(side).start, CENTRE.pixels(side).stop) == pixels
    assert pytest.approx(1 / 9) == CENTRE.area


class _Patches:
    """White patches of one size."""

    stain = "none"

    def __init__(self, side: int) -> None:
        self.patch_size_px, self.labels_N = side, np.zeros(1, np.int8)

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        return np.full((len(indices_N), self.patch_size_px, self.patch_size_px, 3), 255, np.uint8)


@pytest.mark.parametrize("side", [32, 48, 96, 100, 224])
def test_all_that_speak_of_it_mean_the_same_square(side: int) -> None:
    inside, low, high = CENTRE.pixels(side), *CENTRE.edges(side)
    hidden = Masked(_Patches(side), "centre", np.zeros(3, np.uint8)).gather(np.arange(1))[0, :, :, 0] == 0  # type: ignore[arg-type]
    wanted = np.zeros((side, side), bool)
    wanted[inside, inside] = True
    np.testing.assert_array_equal(hidden, wanted)
    # All of a map within the square, and none of one around it.
    share = ((high - low) / (inside.stop - inside.start)) ** 2  # of the pixels on its border, a part
    assert attribution.centre_mass(wanted[None].astype(float))[0] == pytest.approx(share)
    assert attribution.centre_mass(1.0 - wanted[None])[0] == 0
    # Frames: around the pixels in a picture of the patch, on the very edges in one of a sample.
    framed = (patch_figures.enlarge(np.full((side, side, 3), 255, np.uint8), 4, centre=True) < 255).any(axis=(1, 2))
    dark = np.flatnonzero(framed)
    assert inside.start * 4 - 4 <= dark[0] < inside.start * 4
    assert inside.stop * 4 <= dark[-1] < inside.stop * 4 + 4
    config = parse({"data": {"image_size_px": side, "augment": {"policy": "none"}}})
    drawn = draw.draw_augmentation(config.data.augment, side, 0, 0, range(1))
    corners = show_samples.centre_corners(drawn, config, side)[0]
    assert corners.min() == pytest.approx(low, abs=1e-4)
    assert corners.max() == pytest.approx(high, abs=1e-4)
