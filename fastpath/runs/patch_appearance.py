"""What patches look like, one value a patch: from a store's index and its pixels, or from pixels alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.pixels import appearance
from fastpath.ingest import stats
from fastpath.store.reader import Store
from fastpath.types import Patches

Floats = NDArray[np.float64]

TOGETHER = 256  # patches in memory at once


def measure(store: Store, rows_N: NDArray[np.int64]) -> dict[str, Floats]:
    """Return float64 [N] for each of `appearance.MEASURES`, NaN where a patch has none.

    Args:
        store: The store.
        rows_N: int64, its rows.
    """
    stains_N4 = np.empty((len(rows_N), 4))
    for first in range(0, len(rows_N), TOGETHER):
        here = slice(first, first + TOGETHER)
        stains_N4[here] = appearance.stains_and_rest(store.gather(rows_N[here]))
    looks = _looks(store.mean_rgb_N3[rows_N], stains_N4, store.column("sharpness")[rows_N])
    return {name: looks[name] for name in appearance.MEASURES}


def measure_pixels(patches: Patches, rows_N: NDArray[np.int64]) -> dict[str, Floats]:
    """Return float64 [N] for each of `appearance.LOOKS`, from the pixels alone; NaN where a patch has none."""
    parts = [_of_pixels(patches.gather(rows_N[at : at + TOGETHER])) for at in range(0, len(rows_N), TOGETHER)]
    return {name: np.concatenate([part[name] for part in parts]) for name in appearance.LOOKS}


def _of_pixels(images_NHWC: NDArray[np.uint8]) -> dict[str, Floats]:
    result = stats.measure(images_NHWC)
    mean_N3 = (result.sums_N3 / (images_NHWC.shape[1] * images_NHWC.shape[2])).astype(np.float32)
    return _looks(mean_N3, appearance.stains_and_rest(images_NHWC), result.sharpness_N)


def _looks(mean_N3: NDArray[np.float32], stains_N4: Floats, variance_N: NDArray[np.float32]) -> dict[str, Floats]:
    """Return each of `appearance.LOOKS`, of mean colours, `stains_and_rest`, and variances of the Laplacian."""
    return {
        "brightness": appearance.brightness(mean_N3),
        "haematoxylin": stains_N4[:, 1],
        "eosin": stains_N4[:, 2],
        "tissue_share": stains_N4[:, 0],
        "sharpness": appearance.sharpness(variance_N),
        "other_stain": stains_N4[:, 3],
    }
