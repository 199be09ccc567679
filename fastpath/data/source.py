"""What goes into the graph at each step: patches and their parameters, computed from the step's number alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.config import Config
from fastpath.data import artefacts, augment, colour, geometry, plan
from fastpath.data.geometry import Canvas
from fastpath.data.residency import MappedPixels, Patches, Pixels
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats

NO_NOISE = np.empty((0, 0, 3), np.int8)
STAND_IN = -1  # the row told of a sample that belongs to no rank, where a rank's share of a step is empty

Feed = tuple[Any, ...]
"""Images uint8 [N, H, W, 3], on the card if that is where they are, and rows int64 [N]; for training, also colour
float32 [N, 3, 4] and warp float32 [N, 3, 3]. Where rings are swapped, the patches that lend them come second; where
there are artefacts, `artefacts.inputs` come last."""

StepFeed = Callable[[int], Feed]


def training_layout(patch_px: int, config: Config) -> Canvas:
    """Lay out training patches."""
    return geometry.training_canvas(config.data.augment, patch_px, config.data.image_size_px)


def epoch_rows(
    patches: Patches,
    rows_M: NDArray[np.int64],
    config: Config,
    epoch: int,
    weights_M: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return the rows of an epoch in the order they are trained on, int64 [M]; see `training_feed`."""
    order = plan.epoch_order(patches.labels_N[rows_M], config.data.sampling, config.seed, epoch, weights_M)
    return np.asarray(rows_M[order])


def training_feed(
    patches: Patches,
    rows_M: NDArray[np.int64],
    stats: ChannelStats,
    config: Config,
    runtime: Runtime,
    pixels: Pixels | None = None,
    weights_M: NDArray[np.float64] | None = None,
) -> StepFeed:
    """Return the function from a global step (epoch × steps an epoch + step) to this rank's share of its batch.

    Args:
        patches: The store.
        rows_M: int64 [M], rows of the training split.
        stats: What to normalise with.
        config: Order, augmentation and batch size.
        runtime: Rank and world size.
        pixels: Where the patches are; None reads them from the store.
        weights_M: How often each is drawn, relative to the others; None is equally often.
    """
    data, size = config.data, len(rows_M)
    pixels = pixels or MappedPixels(patches)
    layout = training_layout(patches.patch_size_px, config)
    field = artefacts.noise_field(config.seed, layout.patch_px) if data.augment.noise_p else NO_NOISE
    steps = plan.num_steps(size, data.batch_size)

    @lru_cache(maxsize=2)
    def order(epoch: int) -> NDArray[np.int64]:
        return epoch_rows(patches, rows_M, config, epoch, weights_M)

    def feed(global_step: int) -> Feed:
        epoch, step = divmod(global_step, steps)
        share = plan.step_positions(size, data.batch_size, step, runtime.rank, runtime.world_size)
        positions = not_empty(share)
        rows = order(epoch)[positions.start : positions.stop]
        drawn = augment.draw(data.augment, data.image_size_px, config.seed, epoch, positions)
        told = rows if share else np.full_like(rows, STAND_IN)
        if not data.augment.artefacts:
            images, matrices, warp = augmented(pixels, rows, drawn, layout, stats)
            return images, told, matrices, warp
        lenders = artefacts.partner_rows(drawn, rows, rows_M) if data.augment.ring_swap_p else None
        images, probes, matrices, warp = spoilt(pixels, rows, lenders, drawn, layout, stats)
        extra = artefacts.inputs(data.augment, drawn, probes, field, layout.patch_px)
        return *images, told, matrices, warp, *extra

    return feed


def not_empty(share: range) -> range:
    """Return a rank's positions in a step, or one of another's where it has none: a graph cannot run on nothing."""
    return share or range(share.start, share.start + 1)


def augmented(
    pixels: Pixels, rows_N: NDArray[np.int64], drawn: augment.Augmentation, layout: Canvas, stats: ChannelStats
) -> Feed:
    """Gather patches into their frames and turn their augmentation into the two matrices of the graph."""
    framed, probes = pixels.probed(rows_N, layout.frame_px)
    return framed, *matrices_of(probes, drawn, layout, stats)


def spoilt(
    pixels: Pixels,
    rows_N: NDArray[np.int64],
    lenders_N: NDArray[np.int64] | None,
    drawn: augment.Augmentation,
    layout: Canvas,
    stats: ChannelStats,
) -> tuple[list[Any], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Gather patches, and those that lend their rings, without a frame: it comes after the artefacts, in the graph.

    Returns:
        Images of both, probes of the patches that rings come from, and the two matrices, which are those of the
        patches as stored, so that artefacts and rings do not change the colour of the centre.
    """
    images, probes = pixels.probed(rows_N, 0)
    matrices = matrices_of(probes, drawn, layout, stats)
    if lenders_N is None:
        return [images], probes, *matrices
    lent, ring_probes = pixels.probed(lenders_N, 0)
    return [images, lent], ring_probes, *matrices


def matrices_of(
    probes_NK3: NDArray[np.float32], drawn: augment.Augmentation, layout: Canvas, stats: ChannelStats
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the two matrices of the graph: colour float32 [N, 3, 4] and warp float32 [N, 3, 3]."""
    warp = geometry.warp_matrices(drawn, layout)
    shown = geometry.coverage(warp, layout) if layout.frame_px else np.ones(len(drawn))
    return colour.colour_matrices(probes_NK3, drawn, shown, stats), warp


def evaluation_feed(
    patches: Patches, rows_M: NDArray[np.int64], batch_size: int, runtime: Runtime, pixels: Pixels | None = None
) -> StepFeed:
    """Return the function from a step to this rank's share of its batch, in the order given; passes follow on."""
    steps = plan.num_steps(len(rows_M), batch_size)
    pixels = pixels or MappedPixels(patches)

    def feed(step: int) -> Feed:
        share = plan.step_positions(len(rows_M), batch_size, step % steps, runtime.rank, runtime.world_size)
        positions = not_empty(share)
        rows = rows_M[positions.start : positions.stop]
        return pixels.take(rows), rows if share else np.full_like(rows, STAND_IN)

    return feed
