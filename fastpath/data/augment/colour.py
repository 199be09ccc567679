"""Colour jitter and normalisation as one affine map of (red, green, blue) a sample.

torchvision's ColorJitter is a chain of four steps with a clamp after each. Brightness, contrast and saturation are
affine but for the clamp; the hue shift is not. Instead of replacing each step by an affine one (which is 4 times
further from torchvision on H&E patches, mostly for the hue), the chain itself is run on a few pixels of the patch
and the affine map closest to it on those pixels is taken: see docs/numerics.md for the distances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastpath.data.augment.draw import BRIGHTNESS, CONTRAST, HUE, SATURATION, Augmentation
from fastpath.types import ChannelStats

PROBES_PER_SIDE = 8  # pixels of a patch, on a grid, to which the map is fitted; 16 a side gains 0.02 grey levels
RIDGE = 1e-4  # of a squared unit range, pulls directions in which a patch does not vary towards the identity
LUMA_3 = np.array([0.2989, 0.587, 0.114], dtype=np.float32)  # torchvision's rgb_to_grayscale (ITU-R BT.601)

# Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok & Johnston, "Quantification of
# histochemical staining by color deconvolution", 2001), each of unit length.
STAINS_33 = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STAINS_33 /= np.linalg.norm(STAINS_33, axis=1, keepdims=True)
DARKEST = 1 / 255  # of the range; optical density is infinite at 0

Array = NDArray[np.float32]


def probe_grid(patch_px: int) -> slice:
    """Return which pixels of a patch are probed, along either side."""
    step = patch_px // PROBES_PER_SIDE
    return slice(step // 2, step // 2 + (PROBES_PER_SIDE - 1) * step + 1, step)


def probe_pixels(images_NHWC: NDArray[np.uint8]) -> Array:
    """Return float32 [N, 64, 3] in 0..1: the pixels on a regular grid of each patch."""
    grid = probe_grid(images_NHWC.shape[1])
    return unit_range(images_NHWC[:, grid, grid])


def unit_range(probes_NHWC: NDArray[np.uint8]) -> Array:
    """Return probed pixels as float32 [N, 64, 3] in 0..1."""
    return np.divide(probes_NHWC.reshape(len(probes_NHWC), -1, 3), 255, dtype=np.float32)


def jitter(pixels_NK3: Array, augmentation: Augmentation, weights_NK: Array) -> Array:
    """Apply stain jitter, then torchvision's ColorJitter, to pixels in 0..1.

    Args:
        pixels_NK3: float32 [N, K, 3].
        augmentation: Factors and their order.
        weights_NK: float32 [N, K], share of each pixel in the image, for the mean luma on which contrast pivots.

    Returns:
        float32 [N, K, 3], in 0..1.
    """
    stained = augmentation.stain_N23
    # Most policies leave the stains alone: spare them the logarithms.
    pixels = shift_stains(pixels_NK3, stained) if (stained != [[1.0], [0.0]]).any() else pixels_NK3.copy()
    factors = augmentation.factors_N4.astype(np.float32)
    for place in range(4):
        operation = augmentation.order_N4[:, place]
        for kind in (BRIGHTNESS, CONTRAST, SATURATION, HUE):
            rows = np.flatnonzero(operation == kind)
            if len(rows):
                pixels[rows] = _step(kind, pixels[rows], factors[rows, kind, None, None], weights_NK[rows])
        np.clip(pixels, 0.0, 1.0, out=pixels)
    return pixels


def _step(kind: int, pixels: Array, factor: Array, weights: Array) -> Array:
    if kind == HUE:
        return shift_hue(pixels, factor[..., 0])
    luma = (pixels @ LUMA_3)[..., None]
    if kind == BRIGHTNESS:
        other = np.zeros_like(luma)
    elif kind == CONTRAST:
        other = np.sum(luma * weights[..., None], axis=1, keepdims=True)
    else:
        other = luma
    return np.asarray(factor * pixels + (1 - factor) * other)


def shift_stains(pixels_NK3: Array, stain_N23: NDArray[np.float64]) -> Array:
    """Scale and shift the stains that a pixel's optical density is made of.

    Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference", 2018, section on
    stain augmentation, with the optical density as the natural logarithm.

    Args:
        pixels_NK3: float32 [N, K, 3] in 0..1.
        stain_N23: float64 [N, 2, 3], factors and shifts of haematoxylin, eosin and DAB.
    """
    density = -np.log(np.maximum(pixels_NK3, DARKEST))
    stains = density @ np.linalg.inv(STAINS_33)
    moved = (stains * stain_N23[:, None, 0] + stain_N23[:, None, 1]) @ STAINS_33
    return np.asarray(np.clip(np.exp(-moved), 0.0, 1.0), dtype=np.float32)


def shift_hue(pixels: Array, turns: Array) -> Array:
    """Shift the hue of HSV and go back to RGB, in the closed form without branches.

    Args:
        pixels: float32 [..., 3] in 0..1.
        turns: float32 [...], broadcast; red moves towards green for positive values.
    """
    red, green, blue = (np.ascontiguousarray(channel) for channel in np.moveaxis(pixels, -1, 0))
    largest = np.maximum(np.maximum(red, green), blue)
    chroma = largest - np.minimum(np.minimum(red, green), blue)
    divisor = np.where(chroma == 0, 1, chroma)
    sector = np.where(
        largest == red,
        (green - blue) / divisor,
        np.where(largest == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    shifted = np.empty_like(pixels)
    turned = sector + 6 * turns
    # v - c * max(0, min(k, 4 - k, 1)) with k = (n + 6 h) mod 6 and n = 5, 3, 1 for red, green and blue.
    for channel, n in enumerate((5, 3, 1)):
        k = turned + n
        k -= 6 * np.floor(k / 6)  # what k % 6 gives at a fifth of its cost, but for -1e-7 in place of 6, and 0 for both
        shifted[..., channel] = largest - chroma * np.clip(np.minimum(k, 4 - k), 0, 1)
    return shifted


def colour_matrices(
    pixels_NK3: Array, augmentation: Augmentation, coverage_N: NDArray[np.float64], stats: ChannelStats
) -> Array:
    """Return float32 [N, 3, 4]: the map from stored bytes to jittered, normalised values.

    Args:
        pixels_NK3: float32 [N, K, 3] in 0..1, from `probe_pixels`.
        augmentation: Factors and their order.
        coverage_N: float64 [N], share of the augmented image that shows the patch; the rest is black, which
            moves contrast's pivot and is itself jittered.
        stats: Channel mean and standard deviation to normalise with.
    """
    count, probes, _ = pixels_NK3.shape
    pixels = np.concatenate([pixels_NK3, np.zeros((count, 1, 3), np.float32)], axis=1)
    inside = coverage_N.astype(np.float32)[:, None]
    weights = np.concatenate([np.repeat(inside / probes, probes, axis=1), 1 - inside], axis=1)
    return normalised(*_fit(pixels, jitter(pixels, augmentation, weights), weights[..., None]), stats)


def _fit(source: Array, target: Array, weights: Array) -> tuple[Array, Array]:
    """Return the weighted ridge fit target = M source + T: M float32 [N, 3, 3], T float32 [N, 3]."""
    mean_source = np.sum(source * weights, axis=1, keepdims=True)
    mean_target = np.sum(target * weights, axis=1, keepdims=True)
    centred = source - mean_source
    weighted = (centred * weights).transpose(0, 2, 1)
    ridge = RIDGE * np.eye(3, dtype=np.float32)
    solved = np.linalg.solve(weighted @ centred + ridge, weighted @ (target - mean_target) + ridge)
    matrix = solved.transpose(0, 2, 1).astype(np.float32)
    return matrix, mean_target[:, 0] - np.einsum("nij,nj->ni", matrix, mean_source[:, 0])


def normalised(matrix_N33: Array, offset_N3: Array, stats: ChannelStats) -> Array:
    """Return float32 [N, 3, 4]: from bytes, through the map in units of 0..1, to (value - mean) / std."""
    mean, std = np.array(stats.mean_3, np.float32), np.array(stats.std_3, np.float32)
    linear = matrix_N33 / (255 * std[:, None])
    matrices = np.empty((len(linear), 3, 4), dtype=np.float32)
    matrices[:, :, :3], matrices[:, :, 3] = linear, (offset_N3 - mean) / std
    return matrices


def stain_matrices(pixels_NK3: Array, stain_N23: NDArray[np.float64]) -> Array:
    """Return float32 [N, 3, 4]: the map of bytes to bytes nearest to a change of stain on these pixels.

    Args:
        pixels_NK3: float32 [N, K, 3] in 0..1, from `probe_pixels`.
        stain_N23: float64 [N, 2, 3], factors and shifts.
    """
    weights = np.full((len(pixels_NK3), pixels_NK3.shape[1], 1), 1 / pixels_NK3.shape[1], np.float32)
    matrix, offset = _fit(pixels_NK3, shift_stains(pixels_NK3, stain_N23), weights)
    matrices = np.empty((len(matrix), 3, 4), dtype=np.float32)
    matrices[:, :, :3], matrices[:, :, 3] = matrix, 255 * offset
    return matrices
