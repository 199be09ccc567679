"""What goes into the graph at each step: patches and their parameters, computed from the step's number alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.config import Config
from fastpath.data import order
from fastpath.data.ahead import Ahead
from fastpath.data.augment import artefacts, geometry
from fastpath.data.augment.artefacts import Columns
from fastpath.data.augment.geometry import WarpLayout
from fastpath.data.residency import Pixels, pixels_on_demand
from fastpath.data.step_parameters import COLOUR, PARTNER_ROWS, ROWS, WARP, Recipe, at_least_one_position
from fastpath.runtime import Runtime
from fastpath.types import Samples

PLACEHOLDER_ROW = -1  # the row told of a sample that belongs to no rank, where a rank's share of a step is empty

PATCHES, PARTNERS = "patches", "partners"

StepInputs = dict[str, Any]
"""By name: `patches` uint8 [N, H, W, 3], on the card if that is where they are, and `rows` int64 [N]; for training,
also `colour` float32 [N, 3, 4] and `warp` float32 [N, 3, 3]. Where rings are swapped, the `partners` that lend them lie
where the patches lie; where there are artefacts, the inputs follow that `artefacts.kinds` names."""

StepFeed = Callable[[int], StepInputs]


def training_layout(patch_px: int, config: Config) -> WarpLayout:
    """Lay out training patches."""
    return geometry.training_warp_layout(config.data.augment, patch_px, config.data.image_size_px)


def epoch_rows(samples: Samples, config: Config, epoch: int) -> NDArray[np.int64]:
    """Return the rows of an epoch in the order they are trained on, int64 [M]; see `training_feed`."""
    order_M = order.epoch_order(samples.labels_N, config.data.sampling, config.seed, epoch, samples.weights_N)
    return np.asarray(samples.rows_N[order_M])


class TrainingFeed:
    """From a global step (epoch × steps an epoch + step) to this rank's share of its batch.

    Args:
        recipe: What is fed besides pixels.
        pixels: Where the patches are.
        helper: Where it may lie ready.
    """

    def __init__(self, recipe: Recipe, pixels: Pixels, helper: Ahead | None) -> None:
        self._recipe, self._pixels, self._helper = recipe, pixels, helper
        self._policy, self._patch_px, self._frame_px = recipe.config.data.augment, recipe.patch_px, recipe.frame_px
        self._finish = artefacts.finisher(self._policy, recipe.config.seed, self._patch_px)
        self._num_steps, self._order = recipe.num_steps, lru_cache(maxsize=2)(recipe.order)

    def __call__(self, global_step: int) -> StepInputs:
        """Return the feed of a step."""
        epoch, step = divmod(global_step, self._num_steps)
        columns = self._helper.fetch(epoch, step) if self._helper else None
        images, columns = self._made(epoch, step) if columns is None else (self._gathered(columns), columns)
        rows = columns[ROWS]
        known_rows = rows if self._recipe.rank_positions(step) else np.full_like(rows, PLACEHOLDER_ROW)
        named = dict(zip((PATCHES, PARTNERS), images, strict=False))  # partners where rings are swapped
        return named | {ROWS: known_rows, COLOUR: columns[COLOUR], WARP: columns[WARP]} | self._finish(columns)

    def ready(self, global_step: int) -> bool:
        """Whether a step would find what it is fed made."""
        return bool(self._helper and self._helper.fetch(*divmod(global_step, self._num_steps)))

    def _made(self, epoch: int, step: int) -> tuple[list[Any], Columns]:
        """Make what lies nowhere ready, from the pixels as they are gathered."""
        images = []

        def look(rows_N: NDArray[np.int64]) -> NDArray[np.float32]:
            gathered, probes = self._pixels.fetch_with_probes(rows_N, self._frame_px)
            images.append(gathered)
            return probes

        columns = self._recipe.columns(epoch, range(step, step + 1), self._order(epoch), look)
        if self._helper:
            self._helper.missed(columns)
        return images, columns

    def _gathered(self, columns: Columns) -> list[Any]:
        """Gather the patches, and those that lend their rings."""
        names = [ROWS, PARTNER_ROWS] if self._policy.ring_swap_p else [ROWS]
        return [self._pixels.fetch(columns[name], self._frame_px) for name in names]

    def close(self) -> None:
        """End the process that works ahead."""
        if self._helper:
            self._helper.close()


def training_feed(
    samples: Samples,
    config: Config,
    runtime: Runtime,
    pixels: Pixels | None = None,
    *,
    ahead_of_time: bool = False,
) -> TrainingFeed:
    """Return the feed of training.

    Args:
        samples: What is trained on.
        config: Order, augmentation and batch size.
        runtime: Rank and world size.
        pixels: Where the patches are; None reads them from the store.
        ahead_of_time: Whether a process may make what is fed besides pixels, from when it is worth one until the feed
            is closed. It changes no bit.
    """
    recipe = Recipe(
        samples.rows_N,
        samples.labels_N,
        samples.weights_N,
        config,
        samples.stats,
        samples.patches.patch_size_px,
        runtime.rank,
        runtime.world_size,
    )
    helper = Ahead(recipe, samples.patches) if ahead_of_time else None
    return TrainingFeed(recipe, pixels or pixels_on_demand(samples.patches, runtime), helper)


def evaluation_feed(samples: Samples, batch_size: int, runtime: Runtime, pixels: Pixels | None = None) -> StepFeed:
    """Return the function from a step to this rank's share of its batch, in the order given; passes follow on."""
    rows_M = samples.rows_N
    steps = order.num_steps(len(rows_M), batch_size)
    pixels = pixels or pixels_on_demand(samples.patches, runtime)

    def feed(step: int) -> StepInputs:
        rank_positions = order.step_positions(len(rows_M), batch_size, step % steps, runtime.rank, runtime.world_size)
        positions = at_least_one_position(rank_positions)
        rows = rows_M[positions.start : positions.stop]
        return {PATCHES: pixels.fetch(rows), ROWS: rows if rank_positions else np.full_like(rows, PLACEHOLDER_ROW)}

    return feed
