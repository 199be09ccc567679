"""An attribution map laid over its patch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fastpath.figures import style

_COVER = 0.65  # of what lies below that the map's largest value hides


def overlay(patches_NHWC: NDArray[np.uint8], maps_NHW: NDArray[Any], zoom: int = 1) -> NDArray[np.uint8]:
    """Lay maps over patches: the more a place counts, the more of the colour covers it.

    Each map is scaled by its own 99.5th percentile, so overlays compare places of one patch, not patches.

    Args:
        patches_NHWC: uint8 [N, P, P, 3].
        maps_NHW: At least 0, of any size; stretched over the patch.
        zoom: Pixels of the picture a pixel of the patch.

    Returns:
        uint8 [N, P·zoom, P·zoom, 3].
    """
    from matplotlib import colormaps

    side = patches_NHWC.shape[1] * zoom
    patches_NCHW = torch.from_numpy(np.ascontiguousarray(patches_NHWC)).permute(0, 3, 1, 2).float()
    ground = functional.interpolate(patches_NCHW, size=(side, side), mode="nearest").permute(0, 2, 3, 1).numpy()
    maps_N1HW = torch.from_numpy(np.asarray(maps_NHW, np.float32))[:, None]
    shown_NHW = functional.interpolate(maps_N1HW, size=(side, side), mode="bilinear")[:, 0].numpy()
    # A high quantile in place of the maximum: single pixels of a gradient would leave the rest invisible.
    peak_N11 = np.quantile(shown_NHW, 0.995, axis=(1, 2), keepdims=True).astype(np.float32)
    shown_NHW = np.divide(shown_NHW, peak_N11, out=np.zeros_like(shown_NHW), where=peak_N11 > 0).clip(0, 1)
    # Dark to light yellow: brightness alone tells the order, and no tissue is stained so.
    colour = 255 * colormaps[style.HEAT](shown_NHW)[..., :3]
    cover = (_COVER * np.sqrt(shown_NHW))[..., None]
    blended = (1 - cover) * ground + cover * colour
    shown: NDArray[np.uint8] = np.rint(blended).astype(np.uint8)
    return shown
