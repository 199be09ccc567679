"""Augmentation parameters of each sample, as a pure function of (seed, epoch, position).

Distributions are those of torchvision's RandomHorizontalFlip, RandomRotation, RandomResizedCrop and ColorJitter.
What the parameters do to pixels is in `geometry` and `colour`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.plan import AUGMENT_STREAM, generator

CROP_TRIES = 10  # as torchvision's RandomResizedCrop
WORDS = 40  # uniform draws a sample: 17 for what is named below, 2 for each crop try, 3 spare; a multiple of 4
COLOUR_ORDERS = np.array(list(itertools.permutations(range(4))), dtype=np.int64)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Parameters of N samples.

    Attributes:
        hflip_N: bool [N], mirror left and right (applied first).
        vflip_N: bool [N], mirror top and bottom.
        turns_N: int64 [N], quarter turns counter-clockwise.
        angle_deg_N: float64 [N], rotation counter-clockwise about the centre, in degrees.
        crop_N4: int64 [N, 4], top, left, height, width of the crop, in pixels of the resized image.
        factors_N4: float64 [N, 4], brightness, contrast and saturation factors, and hue shift in turns.
        order_N4: int64 [N, 4], the order in which those four are applied.
        stain_N23: float64 [N, 2, 3], factors and shifts of the optical densities of the three stains.
    """

    hflip_N: NDArray[np.bool_]
    vflip_N: NDArray[np.bool_]
    turns_N: NDArray[np.int64]
    angle_deg_N: NDArray[np.float64]
    crop_N4: NDArray[np.int64]
    factors_N4: NDArray[np.float64]
    order_N4: NDArray[np.int64]
    stain_N23: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.hflip_N)


def draw(config: AugmentConfig, image_size_px: int, seed: int, epoch: int, positions: range) -> Augmentation:
    """Draw the parameters of consecutive positions of an epoch.

    Args:
        config: The distributions.
        image_size_px: Height and width of the resized image, the grid on which crops are placed.
        seed: The run's seed.
        epoch: Epoch, from 0.
        positions: Consecutive positions; a sample's draw does not depend on the others.
    """
    rng = generator(seed, AUGMENT_STREAM, epoch, block=positions.start * (WORDS // 4))
    uniform = rng.random((len(positions), WORDS))
    hue = np.array([config.hue])
    reach = np.array([config.brightness, config.contrast, config.saturation])
    low, high = np.concatenate([np.maximum(0.0, 1.0 - reach), -hue]), np.concatenate([1.0 + reach, hue])
    return Augmentation(
        hflip_N=uniform[:, 0] < config.hflip,
        vflip_N=uniform[:, 1] < config.vflip,
        turns_N=(uniform[:, 2] * 4).astype(np.int64) * config.quarter_turns,
        angle_deg_N=(2 * uniform[:, 3] - 1) * config.rotation_deg,
        crop_N4=_crops(config, image_size_px, uniform[:, 4:6], uniform[:, 12:32].reshape(-1, CROP_TRIES, 2)),
        factors_N4=low + uniform[:, 6:10] * (high - low),
        order_N4=COLOUR_ORDERS[(uniform[:, 10] * len(COLOUR_ORDERS)).astype(np.int64)],
        stain_N23=[[1.0], [0.0]] + config.stain * (2 * uniform[:, 32:38].reshape(-1, 2, 3) - 1),
    )


def _crops(
    config: AugmentConfig, size: int, place_N2: NDArray[np.float64], tries_NT2: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return [N, 4] top, left, height, width: the first try that fits, else the whole image, as torchvision does.

    torchvision's fallback for a square image is the whole of it whenever crop_ratio contains 1.
    """
    area = size**2 * (config.crop_scale[0] + tries_NT2[..., 0] * (config.crop_scale[1] - config.crop_scale[0]))
    log_low, log_high = np.log(config.crop_ratio)
    ratio = np.exp(log_low + tries_NT2[..., 1] * (log_high - log_low))
    width, height = np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (width > 0) & (height > 0) & (width <= size) & (height <= size)
    first = np.argmax(fits, axis=1)
    rows = np.arange(len(first))
    clamped = float(np.clip(1.0, *config.crop_ratio))
    fallback_hw = (round(size / max(clamped, 1.0)), round(size * min(clamped, 1.0)))
    none = ~fits.any(axis=1)
    height = np.where(none, fallback_hw[0], height[rows, first])
    width = np.where(none, fallback_hw[1], width[rows, first])
    top = np.where(none, (size - height) // 2, (place_N2[:, 0] * (size - height + 1)).astype(np.int64))
    left = np.where(none, (size - width) // 2, (place_N2[:, 1] * (size - width + 1)).astype(np.int64))
    return np.stack([top, left, height, width], axis=1)
