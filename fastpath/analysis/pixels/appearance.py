"""What a patch looks like, in numbers that stain, scanner and section decide: pure functions on arrays.

N patches, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.pixels import eda

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of patches, and how one speaks of it.

    Attributes:
        name: As in files.
        title: As on a page.
        unit: What its numbers are in.
        more: What patches with more of it are.
        less: What patches with less of it are.
    """

    name: str
    title: str
    unit: str
    more: str
    less: str


MEASURES: Mapping[str, Measure] = {
    each.name: each
    for each in (
        Measure("brightness", "brightness", "grey levels, 0 to 255", "brighter", "darker"),
        Measure("haematoxylin", "haematoxylin", "optical density", "more haematoxylin", "less haematoxylin"),
        Measure("eosin", "eosin", "optical density", "more eosin", "less eosin"),
        Measure("tissue_share", "tissue share", "share of the pixels", "more tissue", "less tissue"),
        Measure("sharpness", "sharpness", "log10 variance of the Laplacian", "sharper", "more blurred"),
    )
}
"""By name, in the order in which they are told."""

_NEITHER = "of a colour that is neither haematoxylin's nor eosin's"
LOOKS: Mapping[str, Measure] = {
    **MEASURES,
    "other_stain": Measure("other_stain", "what neither stain explains", "optical density", _NEITHER, _NEITHER),
}
"""`MEASURES`, and what tells another stain from more or less of these two."""

_UNMIX_33 = np.linalg.inv(
    np.stack([*eda.REFERENCE_STAINS_23, np.cross(*eda.REFERENCE_STAINS_23)])
    / np.linalg.norm(np.stack([*eda.REFERENCE_STAINS_23, np.cross(*eda.REFERENCE_STAINS_23)]), axis=1, keepdims=True)
)


_DENSITY_L = eda.optical_density(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1))[:, 0]
_BRIGHTEST_TISSUE = int(np.flatnonzero(_DENSITY_L > eda.GLASS_DENSITY).max())  # grey level


def brightness(mean_rgb_N3: NDArray[np.float32]) -> Floats:
    """Return each patch's mean luma, 0 to 255: the luma of the mean colour, since luma is a sum."""
    return np.asarray(np.asarray(mean_rgb_N3, np.float64) @ eda.LUMA_3)


def sharpness(variance_N: NDArray[np.float32]) -> Floats:
    """Return the decimal logarithm of each patch's variance of the Laplacian (Pech-Pacheco et al. 2000).

    Of the variance plus 1, since a patch of one colour has none.
    """
    return np.log10(np.asarray(variance_N, np.float64) + 1)


def stains_and_rest(images_NHWC: NDArray[np.uint8]) -> Floats:
    """Return each patch's tissue share, the haematoxylin and eosin of its tissue, and the rest, float64 [N, 4].

    Tissue are the pixels that absorb light in every channel, as for the estimate of stains (Macenko et al. 2009). The
    amounts are the tissue's mean optical density, taken apart into the reference stains and what neither explains
    (Ruifrok and Johnston 2001). So another hue of a stain shows as another share of the two.

    Args:
        images_NHWC: uint8 [N, H, W, 3].

    Returns:
        Share 0 to 1 and three amounts in natural optical density; NaN amounts where less than
        `eda.MIN_TISSUE_SHARE` is tissue.
    """
    found_N4 = np.full((len(images_NHWC), 4), np.nan)
    images_NHWC = images_NHWC[:, ::2, ::2]  # neighbours hardly differ, and a quarter of the pixels is a quarter of time
    red, green, blue = (images_NHWC[..., channel] <= _BRIGHTEST_TISSUE for channel in range(3))
    tissue_NHW = red & green & blue  # ten times as fast as `all` over so short an axis
    found_N4[:, 0] = tissue_NHW.mean(axis=(1, 2))
    for patch in np.flatnonzero(found_N4[:, 0] >= eda.MIN_TISSUE_SHARE):
        tissue_K3 = images_NHWC[patch][tissue_NHW[patch]]
        # By grey levels: a logarithm for each pixel would take ten times as long.
        counts_3L = np.stack([np.bincount(tissue_K3[:, channel], minlength=256) for channel in range(3)])
        found_N4[patch, 1:] = counts_3L @ _DENSITY_L / len(tissue_K3) @ _UNMIX_33
    return found_N4
