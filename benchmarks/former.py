"""The training feed as it was, made step by step in the calling thread: what the present one is held against.

The same bytes (`tests/data/test_ahead.py`), in less of the calling thread's time (`benchmarks.suites.host`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from fastpath.config import AugmentConfig, Config
from fastpath.data import order
from fastpath.data.augment import colour, draw, geometry
from fastpath.data.augment.draw import SAME_STAIN, Augmentation
from fastpath.data.augment.stages import noise, ring_swap
from fastpath.data.augment.stages.noise import NOISE_LEVELS
from fastpath.data.residency import Pixels
from fastpath.runtime import Runtime
from fastpath.types import Batch, ChannelStats, Patches

PLACEHOLDER_ROW = -1


def shift_hue(pixels: NDArray[np.float32], turns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift the hue, with reductions over the channels and a remainder; see `colour.shift_hue`."""
    largest, smallest = pixels.max(-1), pixels.min(-1)
    chroma = largest - smallest
    divisor = np.where(chroma == 0, 1, chroma)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    sector = np.where(
        largest == red,
        (green - blue) / divisor,
        np.where(largest == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    k = (sector[..., None] + 6 * turns[..., None] + np.array([5, 3, 1], dtype=pixels.dtype)) % 6
    return np.asarray(largest[..., None] - chroma[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1), dtype=pixels.dtype)


@contextmanager
def former_hue() -> Iterator[None]:
    """Fit colours by the former shift of the hue for as long as the block lasts."""
    present = colour.shift_hue
    colour.shift_hue = shift_hue
    try:
        yield
    finally:
        colour.shift_hue = present


def training_feed(
    patches: Patches,
    rows_M: NDArray[np.int64],
    stats: ChannelStats,
    config: Config,
    runtime: Runtime,
    pixels: Pixels,
    weights_M: NDArray[np.float64] | None = None,
) -> Callable[[int], tuple[Any, ...]]:
    """Return the function from a global step to what is fed in it; see `source.training_feed`."""
    data, size = config.data, len(rows_M)
    layout = geometry.training_warp_layout(data.augment, patches.patch_size_px, data.image_size_px)
    field = noise.noise_field(config.seed, layout.patch_px) if data.augment.noise_p else np.empty((0, 0, 3), np.int8)
    steps = order.num_steps(size, data.batch_size)

    @lru_cache(maxsize=2)
    def ordered_rows(epoch: int) -> NDArray[np.int64]:
        order_M = order.epoch_order(patches.labels_N[rows_M], data.sampling, config.seed, epoch, weights_M)
        return np.asarray(rows_M[order_M])

    def feed(global_step: int) -> tuple[Any, ...]:
        epoch, step = divmod(global_step, steps)
        rank_positions = order.step_positions(size, data.batch_size, step, runtime.rank, runtime.world_size)
        positions = rank_positions or range(rank_positions.start, rank_positions.start + 1)
        rows = ordered_rows(epoch)[positions.start : positions.stop]
        drawn = draw.draw_augmentation(data.augment, data.image_size_px, config.seed, epoch, positions)
        known_rows = rows if rank_positions else np.full_like(rows, PLACEHOLDER_ROW)
        images, probes = pixels.fetch_with_probes(rows, 0 if data.augment.artefacts else layout.frame_px)
        warp = geometry.warp_matrices(drawn, layout)
        shown = geometry.coverage(warp, layout) if layout.frame_px else np.ones(len(drawn))
        matrices = colour.colour_matrices(probes, drawn, shown, stats)
        if not data.augment.artefacts:
            return images, known_rows, matrices, warp
        partner_rings: list[Any] = []
        if data.augment.ring_swap_p:
            ring, probes = pixels.fetch_with_probes(ring_swap.partner_rows(drawn.stages, rows, rows_M), 0)
            partner_rings = [ring]
        inputs = _inputs(data.augment, drawn, probes, field, layout.patch_px)
        return images, *partner_rings, known_rows, matrices, warp, *inputs

    return feed


def batch(images: Any, rows: Any, num_total: int, labels_N: NDArray[np.float32], runtime: Runtime) -> Batch:  # noqa: ANN401
    """Return the batch of a graph's outputs; see `loader.Stream`."""
    images_NCHW = from_dlpack(images.as_tensor()).permute(0, 3, 1, 2)
    indices_N = from_dlpack(rows.as_tensor())
    if indices_N[0] == PLACEHOLDER_ROW:
        images_NCHW, indices_N = images_NCHW[:0], indices_N[:0]
    labels = torch.from_numpy(labels_N[indices_N.numpy()])
    device = runtime.device
    return Batch(images_NCHW, labels.to(device, non_blocking=True), indices_N.to(device, non_blocking=True), num_total)


def _inputs(
    policy: AugmentConfig, drawn: Augmentation, probes_NK3: NDArray[np.float32], field: NDArray[np.int8], patch_px: int
) -> list[Any]:
    """Return what the operators of artefacts are fed."""
    inputs: list[Any] = []
    stages = drawn.stages
    if policy.blur_p:
        inputs.append(stages["blur"]["sigma_px"].astype(np.float32))
    if policy.noise_p:
        sd_N = stages["noise"]["sd"]
        places = zip(sd_N, stages["noise"]["place"], strict=True)
        inputs.append([noise.noise_window(field, place, patch_px if sd else 0) for sd, place in places])
        inputs.append((sd_N / NOISE_LEVELS).astype(np.float32))
    if policy.jpeg_p:
        inputs.append(stages["jpeg"]["quality"].astype(np.int32))
    if policy.ring_swap_p:
        inputs.append(stages["ring_swap"]["partner"] >= 0)
    if policy.ring_blur_p:
        inputs.append(stages["ring_blur"]["sigma_px"].astype(np.float32))
    if policy.ring_stain_p:
        change_N23 = stages["ring_stain"]["change"]
        inputs.append((change_N23 != SAME_STAIN).any(axis=(1, 2)))
        inputs.append(colour.stain_matrices(probes_NK3, change_N23))
    return inputs
