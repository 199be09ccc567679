"""What pack measures of every patch in one pass over its pixels: exact channel sums, focus, appearance.

The pass is most of what pack computes, so it is written to touch each patch while it lies in the core's cache, as
float32, in which every intermediate here is an exact integer: results depend on no block size, library or processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXACT_ROWS = 256  # 256 rows of squares up to 255² stay below 2^24, where float32 still holds every integer
LAPLACIAN_STEP = 4  # every fourth row tells as much of focus as all
HASH_SIDE, HASH_LOW = 32, 8  # the perceptual hash: lowest 8 by 8 cosine coefficients of 32 by 32 block sums


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of N patches.

    Attributes:
        sums_N3: Sum of pixel values by channel, exact int64.
        squares_N3: Sum of squared pixel values by channel, exact int64.
        sharpness_N: Variance of the Laplacian over all channels, float32, squared grey levels.
        phash_N: Perceptual hash, uint64; 0 where a side is below 32 pixels.
    """

    sums_N3: np.ndarray
    squares_N3: np.ndarray
    sharpness_N: np.ndarray
    phash_N: np.ndarray


def measure(images_NHWC: np.ndarray) -> Measures:
    """Measure patches.

    Args:
        images_NHWC: uint8 [N, H, W, 3], C-order.
    """
    num, height, width, channels = images_NHWC.shape
    hashed = min(height, width) >= HASH_SIDE
    scratch = _Scratch(height, width, channels)
    sums, squares = np.zeros((num, width * channels)), np.zeros((num, width * channels))
    sharpness, blocks = np.zeros(num, np.float32), np.zeros((num, HASH_SIDE, HASH_SIDE))
    for patch, flat in enumerate(images_NHWC.reshape(num, height, width * channels)):
        scratch.values[...] = flat
        np.multiply(scratch.values, scratch.values, out=scratch.squared)
        for top in range(0, height, EXACT_ROWS):
            ones = scratch.ones[: min(EXACT_ROWS, height - top)]
            sums[patch] += ones @ scratch.values[top : top + EXACT_ROWS]
            squares[patch] += ones @ scratch.squared[top : top + EXACT_ROWS]
        sharpness[patch] = scratch.laplacian_variance()
        if hashed:
            blocks[patch] = scratch.block_sums()
    return Measures(
        sums_N3=sums.reshape(num, width, channels).sum(axis=1).astype(np.int64),
        squares_N3=squares.reshape(num, width, channels).sum(axis=1).astype(np.int64),
        sharpness_N=sharpness,
        phash_N=_perceptual_hashes(blocks) if hashed else np.zeros(num, np.uint64),
    )


class _Scratch:
    """Arrays that every patch of a shape is measured in: fresh ones would cost more than the arithmetic does."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.channels = channels
        self.values = np.empty((height, width * channels), np.float32)
        self.squared = np.empty_like(self.values)
        self.ones = np.ones(EXACT_ROWS, np.float32)
        inner = len(self.values[1:-1:LAPLACIAN_STEP]), max(0, (width - 2) * channels)
        self.laplacian, self.fourfold = np.empty(inner, np.float32), np.empty(inner, np.float32)
        self.exact = np.empty(self.laplacian.size)
        self.bands = np.empty((HASH_SIDE, width * channels), np.float32)
        self.starts = np.arange(HASH_SIDE) * (width // HASH_SIDE * channels)
        self.end = HASH_SIDE * (width // HASH_SIDE * channels)

    def laplacian_variance(self) -> float:
        """Variance of the 4-neighbour Laplacian of the patch; 0 where it is too small to have one."""
        if not self.exact.size:
            return 0.0
        values, once, total = self.values, self.channels, self.laplacian
        middle = values[1:-1:LAPLACIAN_STEP]
        np.add(values[:-2:LAPLACIAN_STEP, once:-once], values[2::LAPLACIAN_STEP, once:-once], out=total)
        np.add(total, middle[:, : -2 * once], out=total)
        np.add(total, middle[:, 2 * once :], out=total)
        np.multiply(middle[:, once:-once], 4, out=self.fourfold)
        np.subtract(total, self.fourfold, out=total)
        self.exact[...] = total.ravel()
        return float((self.exact @ self.exact - self.exact.sum() ** 2 / total.size) / total.size)

    def block_sums(self) -> np.ndarray:
        """Sums over 32 by 32 blocks and all channels; rows and columns beyond a multiple of 32 are left out."""
        step = len(self.values) // HASH_SIDE
        bands = self.values[: step * HASH_SIDE].reshape(HASH_SIDE, step, -1)
        self.bands[...] = bands[:, 0]
        for row in range(1, step):
            np.add(self.bands, bands[:, row], out=self.bands)
        total: np.ndarray = np.add.reduceat(self.bands[:, : self.end], self.starts, axis=1)
        return total


def _cosines() -> np.ndarray:
    """The first 8 rows of the 32-point DCT-II as integers, so that sums of them are exact in any order."""
    k, n = np.arange(HASH_LOW)[:, None], np.arange(HASH_SIDE)[None]
    cosines: np.ndarray = np.rint(1024 * np.cos(np.pi * k * (2 * n + 1) / (2 * HASH_SIDE)))
    return cosines


_COSINES = _cosines()
_BITS = np.uint64(1) << np.arange(HASH_LOW * HASH_LOW, dtype=np.uint64)


def _perceptual_hashes(blocks_N: np.ndarray) -> np.ndarray:
    """One bit a low cosine coefficient of [N, 32, 32] block sums: above their median or not."""
    low = (_COSINES @ blocks_N @ _COSINES.T).reshape(len(blocks_N), -1)
    bits: np.ndarray = ((low > np.median(low, axis=1, keepdims=True)) * _BITS).sum(axis=1, dtype=np.uint64)
    return bits
