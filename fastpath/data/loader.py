"""Batches on the run's device, from a packed store through the DALI graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from fastpath.config import Config
from fastpath.data import enlarge, order, residency, step_inputs
from fastpath.data.augment import geometry, mix
from fastpath.data.dali import graph
from fastpath.data.residency import Patches, Pixels
from fastpath.runtime import Runtime
from fastpath.types import Batch, ChannelStats


class Stream:
    """An endless, seekable sequence of batches; one pipeline as long as it is read in order.

    Args:
        build: From the first step to a pipeline that starts there.
        total: From a step to its samples, over all ranks.
        labels_N: int8, label of every row of the store, -1 where unknown.
        runtime: Where batches go.
    """

    def __init__(
        self, build: Callable[[int], Any], total: Callable[[int], int], labels_N: NDArray[np.int8], runtime: Runtime
    ) -> None:
        self._build, self._total, self._runtime = build, total, runtime
        self._labels_N = np.where(labels_N < 0, np.nan, labels_N).astype(np.float32)
        self._pipeline: Any = None
        self._next_step = -1

    def read(self, first_step: int, count: int) -> Iterator[Batch]:
        """Yield `count` batches from `first_step` on."""
        if self._pipeline is None or self._next_step != first_step:
            self._pipeline = self._build(first_step)
            self._next_step = first_step
        for _ in range(count):
            # Bound to the stream that uses them, so that their memory is not written anew while that is under way.
            images, rows = self._pipeline.run(self._runtime.training_stream)
            self._next_step += 1
            yield self.batch(images, rows, self._total(self._next_step - 1))

    def batch(self, images: Any, rows: Any, num_total: int) -> Batch:  # noqa: ANN401 (DALI's TensorList)
        """Return what a pipeline yields as a batch on the run's device."""
        # NHWC memory seen as NCHW is what torch calls channels-last: no copy.
        images_NCHW = from_dlpack(images.as_tensor()).permute(0, 3, 1, 2)
        rows_N = rows.as_array()  # a copy, on the host: the pipeline may use its own memory again
        if rows_N[0] == step_inputs.PLACEHOLDER_ROW:
            images_NCHW, rows_N = images_NCHW[:0], rows_N[:0]
        upload = self._runtime.upload
        return Batch(images_NCHW, upload(self._labels_N[rows_N]), upload(rows_N), num_total)

    def next_pass_start(self, count: int) -> int:
        """Return the step that would follow without building a pipeline, if it is a multiple of `count`; else 0."""
        return self._next_step if self._pipeline is not None and self._next_step % count == 0 else 0

    def close(self) -> None:
        """Release the pipeline, its threads and its buffers."""
        self._pipeline = None


class TrainLoader:
    """Training batches of any epoch from any step; the same for the same (seed, epoch, step), always.

    Attributes:
        num_steps: Steps an epoch; the last batch may be short.
        num_patches: Samples an epoch, over all ranks.
    """

    def __init__(
        self,
        stream: Stream,
        num_steps: int,
        num_patches: int,
        mix: Callable[[int, Batch], Batch] | None = None,
        close_feed: Callable[[], None] = lambda: None,
    ) -> None:
        self._stream, self.num_steps, self.num_patches, self._mix = stream, num_steps, num_patches, mix
        self._close_feed = close_feed

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from `first_step` to its end."""
        start = epoch * self.num_steps + first_step
        batches = self._stream.read(start, self.num_steps - first_step)
        return batches if self._mix is None else map(self._mix, itertools.count(start), batches)

    def close(self) -> None:
        """Release the pipeline, and end the process that works ahead."""
        self._stream.close()
        self._close_feed()


class EvalLoader:
    """Patches in a fixed order, without augmentation, as often as it is iterated.

    Attributes:
        num_patches: Patches a pass, over all ranks.
    """

    def __init__(self, stream: Stream, num_steps: int, num_patches: int) -> None:
        self._stream, self._num_steps, self.num_patches = stream, num_steps, num_patches

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[Batch]:
        # A feed for evaluation goes on for ever, pass after pass: the next one is prefetched while this one ends.
        return self._stream.read(self._stream.next_pass_start(self._num_steps), self._num_steps)

    def close(self) -> None:
        """Release the pipeline."""
        self._stream.close()


def train_loader(
    store: Patches,
    rows_N: NDArray[np.int64],
    stats: ChannelStats,
    config: Config,
    runtime: Runtime,
    pixels: Pixels | None = None,
    weights_N: NDArray[np.float64] | None = None,
) -> TrainLoader:
    """Return the loader of these rows of a store in the order and augmentation of `config`.

    Args:
        store: An open packed store.
        rows_N: int64 [N], rows of the training split.
        stats: Channel statistics to normalise with.
        config: `data` and `seed` are read.
        runtime: Device, threads, rank and world size.
        pixels: From `residency.make_pixel_source`; None reads patches from the store.
        weights_N: How often each row is drawn, relative to the others; None is equally often.
    """
    pixels = pixels or residency.make_pixel_source(store, rows_N, "host", runtime)
    layout = step_inputs.training_layout(store.patch_size_px, config)
    feed = step_inputs.training_feed(store, rows_N, stats, config, runtime, pixels, weights_N, ahead_of_time=True)
    rank_batch_size = -(-config.data.batch_size // runtime.world_size)
    steps = order.num_steps(len(rows_N), config.data.batch_size)

    def build(first_step: int) -> Any:  # noqa: ANN401 (DALI is untyped)
        return graph.training_graph(feed, first_step, layout, rank_batch_size, runtime, config.data.augment)

    stream = _stream(build, store, len(rows_N), config.data.batch_size, runtime)
    return TrainLoader(stream, steps, len(rows_N), mix.mixer(config, len(rows_N), runtime), feed.close)


def eval_loader(
    store: Patches,
    rows_N: NDArray[np.int64],
    stats: ChannelStats,
    config: Config,
    runtime: Runtime,
    pixels: Pixels | None = None,
) -> EvalLoader:
    """Return the loader of these rows of a store as they are.

    Args:
        store: An open packed store.
        rows_N: int64 [N], rows in the order wanted.
        stats: Channel statistics to normalise with.
        config: `data.image_size_px`, `data.eval_batch_size` and, where that is 0, `data.batch_size` are read.
        runtime: Device, threads, rank and world size.
        pixels: From `residency.make_pixel_source`; None reads patches from the store.
    """
    pixels = pixels or residency.make_pixel_source(store, rows_N, "host", runtime)
    layout = geometry.warp_layout(store.patch_size_px, config.data.image_size_px, framed=False)
    batch_size = config.data.patches_evaluated_at_once
    feed = step_inputs.evaluation_feed(store, rows_N, batch_size, runtime, pixels)
    rank_batch_size = -(-batch_size // runtime.world_size)
    steps = order.num_steps(len(rows_N), batch_size)

    make: Any = enlarge.Enlargement if enlarge.serves(layout, runtime) else graph.evaluation_graph

    def build(first_step: int) -> Any:  # noqa: ANN401 (DALI is untyped)
        return make(feed, first_step, layout, stats, rank_batch_size, runtime)

    return EvalLoader(_stream(build, store, len(rows_N), batch_size, runtime), steps, len(rows_N))


def _stream(build: Callable[[int], Any], store: Patches, size: int, batch_size: int, runtime: Runtime) -> Stream:
    steps = order.num_steps(size, batch_size)

    def total(step: int) -> int:
        return len(order.step_positions(size, batch_size, step % steps))

    return Stream(build, total, store.labels_N, runtime)
