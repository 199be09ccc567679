"""Mixup and CutMix: samples blended with their neighbour in the epoch's order, on the device, after the loader.

Zhang et al., "mixup: beyond empirical risk minimization", 2018; Yun et al., "CutMix", 2019. Partners are positions 2k
and 2k + 1 of the epoch. The order is random, so they are random pairs; and as both lie in one batch of one rank where
shares are even, neither batch size nor number of ranks changes what is mixed. A sample whose partner is elsewhere, at
the end of an odd share, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastpath.config import Config, MixConfig
from fastpath.data.order import MIX_STREAM, generator, step_positions
from fastpath.runtime import Runtime
from fastpath.types import CENTRE, Batch

UNIFORMS_PER_PAIR = 8  # uniform draws a pair: 4 and 4 spare; a multiple of 4


@dataclass(frozen=True, slots=True)
class Mixing:
    """How N samples are mixed with their partners.

    Attributes:
        blend_N: float64 [N], the partner's share of every pixel (Mixup); 0 is none.
        box_N4: float64 [N, 4], top, left, bottom, right of what shows the partner (CutMix), in shares of the image;
            empty where all are 0.
    """

    blend_N: NDArray[np.float64]
    box_N4: NDArray[np.float64]


def mixer(config: Config, size: int, runtime: Runtime) -> Callable[[int, Batch], Batch] | None:
    """Return the function from a global step and this rank's share of its batch to the mixed share; None for none.

    Args:
        config: `data.mix`, `data.batch_size` and `seed` are read.
        size: Positions in an epoch.
        runtime: Rank and world size.
    """
    data = config.data
    if data.mix.mixup_p == data.mix.cutmix_p == 0:
        return None
    steps = data.num_steps(size)

    def mix(global_step: int, batch: Batch) -> Batch:
        epoch, step = divmod(global_step, steps)
        positions = step_positions(size, data.batch_size, step, runtime.rank, runtime.world_size)
        return mixed(batch, positions, draw_mixing(data.mix, config.seed, epoch, positions), runtime)

    return mix


def draw_mixing(config: MixConfig, seed: int, epoch: int, positions: range) -> Mixing:
    """Draw the mixing of consecutive positions of an epoch; both of a pair draw the same.

    Args:
        config: The probabilities and distributions.
        seed: The run's seed.
        epoch: Epoch, from 0.
        positions: Consecutive positions.
    """
    from scipy.special import betaincinv  # a second to import, and needed for mixing only

    first, count = positions.start // 2, (positions.stop + 1) // 2 - positions.start // 2
    rng = generator(seed, MIX_STREAM, epoch, block=first * (UNIFORMS_PER_PAIR // 4))
    uniform = rng.random((count, UNIFORMS_PER_PAIR))[np.arange(positions.start, positions.stop) // 2 - first]
    way = uniform[:, 0]
    blended, cut = way < config.mixup_p, (way >= config.mixup_p) & (way < config.mixup_p + config.cutmix_p)
    # By the inverse of the distribution function: a fixed number of draws a pair, unlike sampling by rejection.
    share = betaincinv(config.mixup_alpha, config.mixup_alpha, uniform[:, 1])
    side = np.sqrt(betaincinv(config.cutmix_alpha, config.cutmix_alpha, uniform[:, 1]))
    middle = uniform[:, 2:4]
    box = np.clip(np.concatenate([middle - side[:, None] / 2, middle + side[:, None] / 2], axis=1), 0.0, 1.0)
    return Mixing(blend_N=share * blended, box_N4=box * cut[:, None])


def mixed(batch: Batch, positions: range, drawn: Mixing, runtime: Runtime) -> Batch:
    """Return the batch with images and labels mixed; rows are those of the samples themselves.

    Args:
        batch: Images, and labels 0 or 1.
        positions: Of its samples in the epoch.
        drawn: Their mixing.
        runtime: Where the batch is; nothing here waits for it.

    Returns:
        Labels between 0 and 1: the partner's share is that of its pixels, for CutMix of those in the centre third of
        the image, since the label speaks of the centre only.
    """
    own = np.arange(len(positions))
    partner = (np.arange(positions.start, positions.stop) ^ 1) - positions.start
    paired = (partner >= 0) & (partner < len(positions))
    partner = np.where(paired, partner, own)
    if not (drawn.blend_N.any() or drawn.box_N4.any()):
        return batch
    size = batch.images_NCHW.shape[-1]
    box_N4 = np.rint(drawn.box_N4 * size)
    told_N = drawn.blend_N + _centre_share(box_N4, size)
    others_N = runtime.upload(partner)
    # One short array crosses to the device; the weights of pixels are made there.
    numbers = np.concatenate([told_N[:, None], drawn.blend_N[:, None], box_N4], axis=1).astype(np.float32)
    label_N, blend_N, *box = runtime.upload(numbers).unbind(dim=1)
    weights = _pixel_weights(blend_N, box, size)
    images = torch.lerp(batch.images_NCHW, batch.images_NCHW[others_N], weights)
    labels = torch.lerp(batch.labels_N, batch.labels_N[others_N], label_N)
    return replace(batch, images_NCHW=images, labels_N=labels)


def _pixel_weights(blend_N: Tensor, box: list[Tensor], size: int) -> Tensor:
    """Return float32 [N, 1, H, W]: the partner's share of each pixel."""
    place = torch.arange(size, device=blend_N.device)
    top, left, bottom, right = (edge[:, None] for edge in box)
    rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside, 1.0, blend_N[:, None, None, None])


def _centre_share(box_N4: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return float64 [N]: the share of the image's centre third that lies in the box."""
    low, high = CENTRE.edges(size)
    inside = np.clip(box_N4, low, high)
    return np.asarray((inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1]) / (high - low) ** 2)
