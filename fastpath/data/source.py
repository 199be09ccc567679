"""What goes into the graph at each step: patches and their parameters, computed from the step's number alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastpath.config import Config
from fastpath.data import augment, colour, geometry, plan
from fastpath.data.geometry import Canvas
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats

Feed = tuple[NDArray[Any], ...]
"""Images uint8 [N, H, W, 3] and rows int64 [N]; for training, colour float32 [N, 3, 4] and warp float32 [N, 3, 3]."""

StepFeed = Callable[[int], Feed]


class Patches(Protocol):
    """What a source needs of a packed store."""

    @property
    def labels_N(self) -> NDArray[np.int8]:
        """Label of each row, -1 where unknown."""

    @property
    def patch_size_px(self) -> int:
        """Side of a patch."""

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the patches of these rows."""


def training_layout(patch_px: int, config: Config) -> Canvas:
    """Lay out training patches: framed in black only where a rotation can show what lies outside."""
    policy = config.data.augment
    return geometry.canvas(
        patch_px, config.data.image_size_px, framed=policy.rotation_deg > 0 and policy.border == "black"
    )


def training_feed(
    patches: Patches, rows_M: NDArray[np.int64], stats: ChannelStats, config: Config, runtime: Runtime
) -> StepFeed:
    """Return the function from a global step (epoch × steps an epoch + step) to this rank's share of its batch.

    Args:
        patches: The store.
        rows_M: int64 [M], rows of the training split.
        stats: What to normalise with.
        config: Order, augmentation and batch size.
        runtime: Rank and world size.
    """
    data, size = config.data, len(rows_M)
    layout = training_layout(patches.patch_size_px, config)
    steps = plan.num_steps(size, data.batch_size)

    @lru_cache(maxsize=2)
    def order(epoch: int) -> NDArray[np.int64]:
        return rows_M[plan.epoch_order(patches.labels_N[rows_M], data.sampling, config.seed, epoch)]

    def feed(global_step: int) -> Feed:
        epoch, step = divmod(global_step, steps)
        positions = plan.step_positions(size, data.batch_size, step, runtime.rank, runtime.world_size)
        rows = order(epoch)[positions.start : positions.stop]
        drawn = augment.draw(data.augment, data.image_size_px, config.seed, epoch, positions)
        return augmented(patches, rows, drawn, layout, stats)

    return feed


def augmented(
    patches: Patches, rows_N: NDArray[np.int64], drawn: augment.Augmentation, layout: Canvas, stats: ChannelStats
) -> Feed:
    """Gather patches into their frames and turn their augmentation into the two matrices of the graph."""
    framed = np.zeros((len(rows_N), layout.framed_px, layout.framed_px, 3), dtype=np.uint8)
    inner = framed[:, layout.frame_px :, layout.frame_px :][:, : layout.patch_px, : layout.patch_px]
    patches.gather(rows_N, inner)
    warp = geometry.warp_matrices(drawn, layout)
    shown = geometry.coverage(warp, layout) if layout.frame_px else np.ones(len(rows_N))
    return framed, rows_N, colour.colour_matrices(colour.probe_pixels(inner), drawn, shown, stats), warp


def evaluation_feed(patches: Patches, rows_M: NDArray[np.int64], batch_size: int, runtime: Runtime) -> StepFeed:
    """Return the function from a step to this rank's share of its batch, in the order given; passes follow on."""
    steps = plan.num_steps(len(rows_M), batch_size)

    def feed(step: int) -> Feed:
        positions = plan.step_positions(len(rows_M), batch_size, step % steps, runtime.rank, runtime.world_size)
        rows = rows_M[positions.start : positions.stop]
        return patches.gather(rows), rows

    return feed
