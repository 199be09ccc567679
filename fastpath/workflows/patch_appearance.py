"""What the patches of a store look like, one value a patch: from its index, and in one pass over the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import appearance
from fastpath.shards.reader import Store

Floats = NDArray[np.float64]

TOGETHER = 256  # patches in memory at once


def measure(store: Store, rows_N: NDArray[np.int64]) -> dict[str, Floats]:
    """Return float64 [N] for each of `appearance.MEASURES`, NaN where a patch has none.

    Args:
        store: The store.
        rows_N: int64, its rows.
    """
    stains_N3 = np.empty((len(rows_N), 3))
    for first in range(0, len(rows_N), TOGETHER):
        here = slice(first, first + TOGETHER)
        stains_N3[here] = appearance.stains(store.gather(rows_N[here]))
    return {
        "brightness": appearance.brightness(store.mean_rgb_N3[rows_N]),
        "haematoxylin": stains_N3[:, 1],
        "eosin": stains_N3[:, 2],
        "tissue_share": stains_N3[:, 0],
        "sharpness": appearance.sharpness(store.column("sharpness")[rows_N]),
    }
