"""Evaluation batches enlarged on the CPU by OpenCV: what `graph.evaluation_graph` yields, in a third of its time.

DALI's CPU operators enlarge pixel by pixel; OpenCV mixes whole rows, each row of the patch once. Used where OpenCV is
installed, patches wait on the host and the output is larger than they are; everything else is the graph's, as is all of
it on a card. Normalised before it is resized, in float32 throughout, so both agree up to rounding. See decision 15.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastpath.data.augment.geometry import WarpLayout
from fastpath.data.dali.graph import PREFETCH
from fastpath.data.step_inputs import PATCHES, StepFeed
from fastpath.data.step_parameters import ROWS
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats

Resize = Callable[[NDArray[np.float32], NDArray[np.float32]], object]
"""From [H, W, 3] into [H', W', 3], bilinear with pixel centres at halves and the outermost pixel going on."""


class Filled(NamedTuple):
    """An array where DALI would hand out a list of tensors."""

    array: NDArray[Any]

    def as_tensor(self) -> NDArray[Any]:
        """Return what speaks DLPack."""
        return self.array

    def as_array(self) -> NDArray[Any]:
        """Return what NumPy reads."""
        return self.array


class Pending(NamedTuple):
    """A batch being made: its memory, and the feed's rows with the parts that fill it."""

    images_NHWC: NDArray[np.float32]
    fed: Future[tuple[NDArray[np.int64], list[Future[None]]]]


def serves(layout: WarpLayout, runtime: Runtime) -> bool:
    """Whether an evaluation's batches are made here."""
    return runtime.placement == "cpu" and layout.output_px > layout.patch_px and find_spec("cv2") is not None


class Enlargement:
    """Runs as the pipeline of `evaluation_graph` does: (images float32 [N, S, S, 3] normalised, rows int64 [N]).

    One thread asks the feed for patches, `runtime.num_threads` normalise and enlarge them, `PREFETCH` batches ahead of
    the reader. A patch's pixels depend on nothing but the patch.

    Args:
        feed: From `source.evaluation_feed`.
        first_step: The step of the first batch.
        layout: Sides of patch and output.
        stats: What to normalise with.
        batch_size: The most samples this process sees in a step.
        runtime: Threads.
    """

    def __init__(
        self,
        feed: StepFeed,
        first_step: int,
        layout: WarpLayout,
        stats: ChannelStats,
        batch_size: int,
        runtime: Runtime,
    ) -> None:
        self._feed, self._step, self._threads = feed, first_step, runtime.num_threads
        self._shape = (batch_size, layout.output_px, layout.output_px, 3)
        # One value for each of the patch's, so that NumPy runs through a patch in one go.
        offset, scale = 255 * np.array(stats.mean_3), 1 / (255 * np.array(stats.std_3))
        side = layout.patch_px
        self._offset, self._scale = (np.tile(values, (side, side, 1)).astype(np.float32) for values in (offset, scale))
        self._resize = _linear()
        self._reader = ThreadPoolExecutor(1, "fastpath-read")
        self._workers = ThreadPoolExecutor(self._threads, "fastpath-enlarge")
        self._ahead: deque[Pending] = deque()

    def run(self, _stream: object = None) -> tuple[Filled, Filled]:
        """Return the next batch.

        Raises:
            Exception: What the feed raised.
        """
        while len(self._ahead) <= PREFETCH:
            # Here and not in a worker, whose freed memory glibc would give back and map anew with every batch.
            images_NHWC = np.empty(self._shape, np.float32)
            self._ahead.append(Pending(images_NHWC, self._reader.submit(self._begin, self._step, images_NHWC)))
            self._step += 1
        images_NHWC, fed = self._ahead.popleft()
        rows_N, parts = fed.result()
        for part in parts:
            part.result()
        return Filled(images_NHWC[: len(rows_N)]), Filled(rows_N)

    def _begin(self, step: int, out_NHWC: NDArray[np.float32]) -> tuple[NDArray[np.int64], list[Future[None]]]:
        """Read a step's patches and hand them out to the workers, in equal parts."""
        fed = self._feed(step)
        patches_NHWC, rows_N = fed[PATCHES], fed[ROWS]
        borders = [len(rows_N) * part // self._threads for part in range(self._threads + 1)]
        parts = [slice(*ends) for ends in pairwise(borders)]
        return rows_N, [self._workers.submit(self._fill, patches_NHWC[part], out_NHWC[part]) for part in parts]

    def _fill(self, patches_NHWC: NDArray[np.uint8], out_NHWC: NDArray[np.float32]) -> None:
        normalised = np.empty_like(self._offset)  # stays in the cache between the two
        for patch, out in zip(patches_NHWC, out_NHWC[: len(patches_NHWC)], strict=True):
            np.subtract(patch, self._offset, out=normalised)
            np.multiply(normalised, self._scale, out=normalised)
            self._resize(normalised, out)


def _linear() -> Resize:
    """Return OpenCV's bilinear resize, without threads of its own."""
    import cv2

    cv2.setNumThreads(1)

    def resize(source: NDArray[np.float32], target: NDArray[np.float32]) -> object:
        return cv2.resize(source, target.shape[1::-1], dst=target, interpolation=cv2.INTER_LINEAR)

    return resize
