"""Maps over patches: most cover where the map is highest, and one frame in every picture."""

from __future__ import annotations

import numpy as np

from fastpath.figures import attribution_overlay, patch_figures


def test_an_overlay_covers_most_where_the_map_is_highest() -> None:
    patches_NHWC = np.full((2, 96, 96, 3), 200, np.uint8)
    maps_NHW = np.zeros((2, 6, 6))
    maps_NHW[0, :2, :2] = 3.0
    shown = attribution_overlay.overlay(patches_NHWC, maps_NHW, zoom=2)
    assert shown.shape == (2, 192, 192, 3)
    assert (shown[1] == 200).all()  # nothing to show
    change = np.abs(shown[0].astype(int) - 200).sum(-1)
    assert change[10, 10] > 100
    assert change[180, 180] == 0


def test_a_map_has_the_frame_that_its_patch_has() -> None:
    patch_HWC = np.random.default_rng(0).integers(60, 250, (96, 96, 3), np.uint8)
    heat_HW = np.random.default_rng(1).random((1, 6, 6))
    mapped = patch_figures.frame_centre(attribution_overlay.overlay(patch_HWC[None], heat_HW, zoom=3)[0], 3)
    plain = patch_figures.enlarge(patch_HWC, 3, centre=True)
    frame = np.any(plain != patch_figures.enlarge(patch_HWC, 3), axis=2)
    assert frame.sum() > 2 * 4 * 96  # two lines around 96 pixels a side
    np.testing.assert_array_equal(mapped[frame], plain[frame])
    assert not frame[96:192, 96:192].any()
