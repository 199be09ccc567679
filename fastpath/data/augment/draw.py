"""Augmentation parameters of each sample, as a pure function of (seed, epoch, position).

Distributions are those of torchvision's RandomHorizontalFlip, RandomRotation, RandomResizedCrop and ColorJitter, and
where a policy asks for more, of its RandomAffine, GaussianBlur and JPEG. What the parameters do to pixels is in
`geometry`, `colour` and `artefacts`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.order import AUGMENT_STREAM, EXTRA_STREAM, generator

CROP_TRIES = 10  # as torchvision's RandomResizedCrop
WORDS = 40  # uniform draws a sample: 17 for what is named below, 2 for each crop try, 3 spare; a multiple of 4
EXTRA_WORDS = 32  # the same of what is drawn where a policy asks for it: 28 and 4 spare
COLOUR_ORDERS = np.array(list(itertools.permutations(range(4))), dtype=np.int64)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
SAME_COLOUR, SAME_STAIN = np.array([1.0, 1.0, 1.0, 0.0]), np.array([[1.0] * 3, [0.0] * 3])


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
        shift_px_N2: float64 [N, 2], shift to the right and down after the rotation, in pixels of the patch.
        zoom_N: float64 [N], enlargement about the centre, together with the rotation.
        blur_px_N: float64 [N], standard deviation of the blur in pixels of the patch; 0 is none.
        noise_sd_N: float64 [N], standard deviation of the noise in grey levels; 0 is none.
        noise_place_N2: float64 [N, 2], where in the field of noise the patch's lies, 0 to 1.
        jpeg_quality_N: int64 [N], 1 to 100; 0 is no artefacts.
        ring_blur_px_N: float64 [N], the blur of all but the centre; 0 is none.
        ring_stain_N23: float64 [N, 2, 3], the change of stain of all but the centre.
        ring_partner_N: float64 [N], which of the training rows lends all but the centre, 0 to 1; -1 is none.
    """

    hflip_N: NDArray[np.bool_]
    vflip_N: NDArray[np.bool_]
    turns_N: NDArray[np.int64]
    angle_deg_N: NDArray[np.float64]
    crop_N4: NDArray[np.int64]
    factors_N4: NDArray[np.float64]
    order_N4: NDArray[np.int64]
    stain_N23: NDArray[np.float64]
    shift_px_N2: NDArray[np.float64]
    zoom_N: NDArray[np.float64]
    blur_px_N: NDArray[np.float64]
    noise_sd_N: NDArray[np.float64]
    noise_place_N2: NDArray[np.float64]
    jpeg_quality_N: NDArray[np.int64]
    ring_blur_px_N: NDArray[np.float64]
    ring_stain_N23: NDArray[np.float64]
    ring_partner_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.hflip_N)

    def at(self, index_M: NDArray[np.int64]) -> Augmentation:
        """Return the parameters of some of the samples, in the order of `index_M`."""
        return Augmentation(**{field.name: getattr(self, field.name)[index_M] for field in fields(self)})


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
    count = len(positions)
    uniform = rng.random((count, WORDS))
    hue = np.array([config.hue])
    reach = np.array([config.brightness, config.contrast, config.saturation])
    low, high = np.concatenate([np.maximum(0.0, 1.0 - reach), -hue]), np.concatenate([1.0 + reach, hue])
    zeros = np.zeros(count)
    drawn = Augmentation(
        hflip_N=uniform[:, 0] < config.hflip,
        vflip_N=uniform[:, 1] < config.vflip,
        turns_N=(uniform[:, 2] * 4).astype(np.int64) * config.quarter_turns,
        angle_deg_N=(2 * uniform[:, 3] - 1) * config.rotation_deg,
        crop_N4=_crops(config, image_size_px, uniform[:, 4:6], uniform[:, 12:32].reshape(-1, CROP_TRIES, 2)),
        factors_N4=low + uniform[:, 6:10] * (high - low),
        order_N4=COLOUR_ORDERS[(uniform[:, 10] * len(COLOUR_ORDERS)).astype(np.int64)],
        stain_N23=_stains(config.stain, uniform[:, 32:38]),
        shift_px_N2=np.zeros((count, 2)),
        zoom_N=np.ones(count),
        blur_px_N=zeros,
        noise_sd_N=zeros,
        noise_place_N2=np.zeros((count, 2)),
        jpeg_quality_N=np.zeros(count, np.int64),
        ring_blur_px_N=zeros,
        ring_stain_N23=np.tile(SAME_STAIN, (count, 1, 1)),
        ring_partner_N=np.full(count, -1.0),
    )
    if not _asks_for_more(config):
        return drawn
    rng = generator(seed, EXTRA_STREAM, epoch, block=positions.start * (EXTRA_WORDS // 4))
    extra = rng.random((count, EXTRA_WORDS))
    return _with_artefacts(config, extra, _moved(config, extra, image_size_px, drawn))


def _asks_for_more(config: AugmentConfig) -> bool:
    """Whether anything is drawn that the notebook does not draw; it is spared the second draw."""
    moved = config.shift_px > 0 or config.zoom != (1.0, 1.0)
    return moved or config.artefacts or min(_gates(config)) < 1


def _moved(config: AugmentConfig, extra: NDArray[np.float64], size: int, drawn: Augmentation) -> Augmentation:
    """Leave rotation, crop, colour and stain out where their probability says so, and draw shift and zoom."""
    turned, cropped, coloured, stained = (extra[:, :4] < _gates(config)).T
    return replace(
        drawn,
        angle_deg_N=drawn.angle_deg_N * turned,
        crop_N4=np.where(cropped[:, None], drawn.crop_N4, [0, 0, size, size]),
        factors_N4=np.where(coloured[:, None], drawn.factors_N4, SAME_COLOUR),
        stain_N23=np.where(stained[:, None, None], drawn.stain_N23, SAME_STAIN),
        shift_px_N2=(2 * extra[:, 5:7] - 1) * config.shift_px * (extra[:, 4:5] < config.shift_p),
        zoom_N=np.where(extra[:, 7] < config.zoom_p, _between(config.zoom, extra[:, 8]), 1.0),
    )


def _gates(config: AugmentConfig) -> list[float]:
    return [config.rotation_p, config.crop_p, config.colour_p, config.stain_p]


def _with_artefacts(config: AugmentConfig, extra: NDArray[np.float64], drawn: Augmentation) -> Augmentation:
    """Draw what is done to the patch's pixels before colour and geometry."""
    worst, best = config.jpeg_quality
    quality = worst + (extra[:, 16] * (best - worst + 1)).astype(np.int64)
    return replace(
        drawn,
        blur_px_N=_between(config.blur_sigma_px, extra[:, 10]) * (extra[:, 9] < config.blur_p),
        noise_sd_N=_between(config.noise_sd, extra[:, 12]) * (extra[:, 11] < config.noise_p),
        noise_place_N2=extra[:, 13:15],
        jpeg_quality_N=quality * (extra[:, 15] < config.jpeg_p),
        ring_blur_px_N=_between(config.ring_blur_sigma_px, extra[:, 18]) * (extra[:, 17] < config.ring_blur_p),
        ring_stain_N23=np.where(
            extra[:, 19, None, None] < config.ring_stain_p, _stains(config.ring_stain, extra[:, 20:26]), SAME_STAIN
        ),
        ring_partner_N=np.where(extra[:, 26] < config.ring_swap_p, extra[:, 27], -1.0),
    )


def _between(ends: tuple[float, float], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    return ends[0] + uniform * (ends[1] - ends[0])


def _stains(reach: float, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(SAME_STAIN + reach * (2 * uniform.reshape(-1, 2, 3) - 1))


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
