"""What a training step is fed besides pixels: its rows, matrices and artefacts, a pure function of (seed, epoch, step).

Nothing here knows where it runs: the thread that trains and a process that works ahead of it get the same bits. It
needs neither torch nor DALI, so that such a process is there in a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.config import Config
from fastpath.data import order
from fastpath.data.augment import artefacts, colour, draw, geometry
from fastpath.data.augment.artefacts import Columns
from fastpath.data.augment.geometry import WarpLayout
from fastpath.data.augment.stages import ring_swap
from fastpath.types import ChannelStats

ROWS, COLOUR, WARP, PARTNER_ROWS = "rows", "colour", "warp", "partner_rows"
"""Of the columns that a step is fed: rows int64 [N], colour float32 [N, 3, 4] and warp float32 [N, 3, 3]; where rings
are swapped, the rows int64 [N] that lend them. Where there are artefacts, `artefacts.columns` follow."""

Look = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""From rows int64 [N] to the pixels of them to which colour is fitted, float32 [N, K, 3] in 0..1."""


@dataclass(frozen=True)
class Recipe:
    """All that decides the order and augmentation of one rank's training samples.

    Attributes:
        rows_M: int64 [M], rows of the training split.
        labels_M: int8 [M], their labels.
        weights_M: float64 [M], how often each is drawn, relative to the others; None is equally often.
        config: Order, augmentation, batch size and seed.
        stats: What to normalise with.
        patch_px: Side of a patch.
        rank: This process among `world_size`.
        world_size: Processes that share each step.
    """

    rows_M: NDArray[np.int64]
    labels_M: NDArray[np.int8]
    weights_M: NDArray[np.float64] | None
    config: Config
    stats: ChannelStats
    patch_px: int
    rank: int = 0
    world_size: int = 1

    @property
    def layout(self) -> WarpLayout:
        """How patches lie in what is warped."""
        return geometry.training_warp_layout(self.config.data.augment, self.patch_px, self.config.data.image_size_px)

    @property
    def frame_px(self) -> int:
        """Width of the black frame that patches are gathered into."""
        return training_frame(self.config, self.patch_px)

    @property
    def num_steps(self) -> int:
        """Steps an epoch."""
        return self.config.data.num_steps(len(self.rows_M))

    def rank_positions(self, step: int) -> range:
        """Return this rank's positions in a step of an epoch."""
        return order.step_positions(len(self.rows_M), self.config.data.batch_size, step, self.rank, self.world_size)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the rows of an epoch in the order they are trained on, int64 [M]."""
        sampling, seed = self.config.data.sampling, self.config.seed
        return self.rows_M[order.epoch_order(self.labels_M, sampling, seed, epoch, self.weights_M)]

    def columns(self, epoch: int, steps: range, order_M: NDArray[np.int64], look: Look) -> Columns:
        """Make what this rank is fed in consecutive steps, one after the other in one array each.

        How many steps are made at once changes no bit of any sample.

        Args:
            epoch: Epoch, from 0.
            steps: Steps within it.
            order_M: From `order`.
            look: Asked for the samples' pixels, and then for those that lend their rings, where rings are swapped.
        """
        rows, drawn = self._drawn(epoch, [at_least_one_position(self.rank_positions(step)) for step in steps], order_M)
        policy, probes = self.config.data.augment, look(rows)
        # The two matrices are those of the patches as stored: artefacts and rings do not change the centre's colour.
        matrices, warp = matrices_of(probes, drawn, self.layout, self.stats)
        inputs: Columns = {ROWS: rows, COLOUR: matrices, WARP: warp}
        if policy.ring_swap_p:
            inputs[PARTNER_ROWS] = ring_swap.partner_rows(drawn.stages, rows, self.rows_M)
            probes = look(inputs[PARTNER_ROWS])
        return inputs | artefacts.columns(policy, drawn.stages, probes)

    def _drawn(
        self, epoch: int, shares: list[range], order_M: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], draw.Augmentation]:
        """Return the rows and parameters of some steps' shares."""
        data, whole = self.config.data, range(shares[0].start, shares[-1].stop)
        drawn = draw.draw_augmentation(data.augment, data.image_size_px, self.config.seed, epoch, whole)
        rows = order_M[whole.start : whole.stop]
        if len(whole) == sum(map(len, shares)):
            return rows, drawn
        own = (
            np.concatenate([np.arange(rank_positions.start, rank_positions.stop) for rank_positions in shares])
            - whole.start
        )
        return rows[own], drawn.at(own)


def training_frame(config: Config, patch_px: int) -> int:
    """Return the width of the black frame that patches are gathered into; after artefacts, the graph makes one."""
    policy = config.data.augment
    return (
        0 if policy.artefacts else geometry.training_warp_layout(policy, patch_px, config.data.image_size_px).frame_px
    )


def at_least_one_position(rank_positions: range) -> range:
    """Return a rank's positions in a step, or one of another's where it has none: a graph cannot run on nothing."""
    return rank_positions or range(rank_positions.start, rank_positions.start + 1)


def matrices_of(
    probes_NK3: NDArray[np.float32], drawn: draw.Augmentation, layout: WarpLayout, stats: ChannelStats
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the two matrices of the graph: colour float32 [N, 3, 4] and warp float32 [N, 3, 3]."""
    warp = geometry.warp_matrices(drawn, layout)
    shown = geometry.coverage(warp, layout) if layout.frame_px else np.ones(len(drawn))
    return colour.colour_matrices(probes_NK3, drawn, shown, stats), warp
