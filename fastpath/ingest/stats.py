"""Exact channel sums of patches, from which the statistics of any subset follow without another look at pixels."""

from __future__ import annotations

import numpy as np

EXACT_ROWS = 256  # 256 rows of squares up to 255² stay below 2^24, where float32 still holds every integer


def channel_sums(images_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each patch's sum and sum of squares by channel, exact integers.

    Args:
        images_NHWC: uint8 [N, H, W, 3].

    Returns:
        Two int64 [N, 3] arrays.
    """
    num, height, width, channels = images_NHWC.shape
    sums, squares = np.zeros((num, channels), np.int64), np.zeros((num, channels), np.int64)
    for patch in range(num):  # one at a time: the float copy then stays in the core's cache
        flat = images_NHWC[patch].reshape(height, width * channels)
        for top in range(0, height, EXACT_ROWS):
            rows = flat[top : top + EXACT_ROWS].astype(np.float32)
            sums[patch] += _by_channel(np.add.reduce(rows, axis=0), channels)
            squares[patch] += _by_channel(np.einsum("ij,ij->j", rows, rows), channels)
    return sums, squares


def _by_channel(columns: np.ndarray, channels: int) -> np.ndarray:
    total: np.ndarray = columns.astype(np.int64).reshape(-1, channels).sum(axis=0)
    return total
