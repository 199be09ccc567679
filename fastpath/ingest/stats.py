"""What pack measures of every patch in one pass over its pixels: exact channel sums, focus, appearance.

The pass is most of what pack computes, so it is written to touch each patch while it lies in the core's cache, as
float32, in which every intermediate here is an exact integer: results depend on no block size, library or processor.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

EXACT_ROWS = 256  # 256 rows of squares up to 255² stay below 2^24, where float32 still holds every integer
LAPLACIAN_STEP = 16  # every sixteenth row tells nearly as much of focus as all
TOGETHER = 8  # patches whose Laplacians fit the core's cache
HASH_SIDE, HASH_LOW = 32, 8  # the perceptual hash: lowest 8 by 8 cosine coefficients of 32 rows by 32 bands
HASH_SIDE_MAX = 512  # wider patches are sampled, so that sums of 127 times 255 stay exact in float32


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
    scratch = _scratch(height, width, channels)
    # One row of column sums for each piece of a patch: float32 holds them exactly.
    sums = np.empty((num, len(scratch.pieces), width * channels), np.float32)
    squares, across = np.empty_like(sums), np.empty((num, HASH_SIDE, HASH_LOW), np.float32)
    values, squared = scratch.values, scratch.squared
    for patch, flat in enumerate(images_NHWC.reshape(num, height, width * channels)):
        values[...] = flat
        np.multiply(values, values, squared)
        for piece, (ones, some, some_squared) in enumerate(scratch.pieces):
            np.matmul(ones, some, sums[patch, piece])
            np.matmul(ones, some_squared, squares[patch, piece])
        if scratch.hashed:
            np.matmul(scratch.hash_rows, scratch.cosines, across[patch])
    return Measures(
        sums_N3=_by_channel(sums, scratch.selector),
        squares_N3=_by_channel(squares, scratch.selector),
        sharpness_N=_laplacian_variances(images_NHWC),
        phash_N=_perceptual_hashes(across) if scratch.hashed else np.zeros(num, np.uint64),
    )


class _Scratch:
    """Arrays that every patch of a shape is measured in: fresh ones would cost more than the arithmetic does."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.values = np.empty((height, width * channels), np.float32)
        self.squared = np.empty_like(self.values)
        tops = range(0, height, EXACT_ROWS)
        ends = [min(top + EXACT_ROWS, height) for top in tops]
        self.pieces = [
            (np.ones(end - top, np.float32), self.values[top:end], self.squared[top:end])
            for top, end in zip(tops, ends, strict=True)
        ]
        selector = np.arange(width * channels)[:, None] % channels == np.arange(channels)
        self.selector = selector.astype(np.float64)
        self.hashed = min(height, width) >= HASH_SIDE
        step, self.cosines = height // HASH_SIDE, _cosines_of_columns(width, channels)
        self.hash_rows = self.values[step // 2 : step * HASH_SIDE : max(1, step)]


_local = threading.local()


def _scratch(height: int, width: int, channels: int) -> _Scratch:
    """Return this thread's arrays for a shape; a source has one shape, so only the last is kept."""
    shape, kept = getattr(_local, "kept", ((), None))
    if kept is None or shape != (height, width, channels):
        kept = _Scratch(height, width, channels)
        _local.kept = ((height, width, channels), kept)
    return kept


def _by_channel(columns_NPX: np.ndarray, selector_XC: np.ndarray) -> np.ndarray:
    """Add exact column sums [N, pieces, W·C] up to int64 [N, C]."""
    total: np.ndarray = (columns_NPX.sum(axis=1, dtype=np.float64) @ selector_XC).astype(np.int64)
    return total


def _laplacian_variances(images_NHWC: np.ndarray) -> np.ndarray:
    """Variance of the 4-neighbour Laplacian on every sixteenth row, float32 [N]; 0 for patches below 3 pixels."""
    variances = np.zeros(len(images_NHWC), np.float32)
    if min(images_NHWC.shape[1:3]) < 3:
        return variances
    for first in range(0, len(images_NHWC), TOGETHER):
        images = images_NHWC[first : first + TOGETHER]
        middle = images[:, 1:-1:LAPLACIAN_STEP].astype(np.int16)
        laplacian = images[:, :-2:LAPLACIAN_STEP, 1:-1].astype(np.int16)
        laplacian += images[:, 2::LAPLACIAN_STEP, 1:-1]
        laplacian += middle[:, :, :-2]
        laplacian += middle[:, :, 2:]
        middle <<= 2
        laplacian -= middle[:, :, 1:-1]
        exact = laplacian.reshape(len(images), -1).astype(np.float64)
        squares, totals = np.einsum("ij,ij->i", exact, exact), exact.sum(axis=1)
        variances[first : first + TOGETHER] = (squares - totals**2 / exact.shape[1]) / exact.shape[1]
    return variances


def _cosines(scale: int) -> np.ndarray:
    """The first 8 rows of the 32-point DCT-II as integers, so that sums of them are exact in any order."""
    k, n = np.arange(HASH_LOW)[:, None], np.arange(HASH_SIDE)[None]
    cosines: np.ndarray = np.rint(scale * np.cos(np.pi * k * (2 * n + 1) / (2 * HASH_SIDE)))
    return cosines


def _cosines_of_columns(width: int, channels: int) -> np.ndarray:
    """Matrix [W·C, 8] that takes a row of pixels to the cosine coefficients of its 32 bands, summed over channels."""
    step = max(1, width // HASH_SIDE)
    band = np.arange(width) // step
    taken = (band < HASH_SIDE) & (np.arange(width) % step < HASH_SIDE_MAX // HASH_SIDE)
    matrix = np.where(taken[:, None], _cosines(127).T[np.minimum(band, HASH_SIDE - 1)], 0)
    return np.repeat(matrix, channels, axis=0).astype(np.float32)


_COSINES = _cosines(1024)
_BITS = np.uint64(1) << np.arange(HASH_LOW * HASH_LOW, dtype=np.uint64)


def _perceptual_hashes(across_N: np.ndarray) -> np.ndarray:
    """One bit a low coefficient of [N, 32, 8] row transforms: above their median or not."""
    low = (_COSINES @ across_N).reshape(len(across_N), -1)
    bits: np.ndarray = ((low > np.median(low, axis=1, keepdims=True)) * _BITS).sum(axis=1, dtype=np.uint64)
    return bits
