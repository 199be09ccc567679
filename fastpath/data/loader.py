"""Batches on the run's device, from a packed store through the DALI graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from fastpath.config import Config, DataConfig
from fastpath.config.augment import Policy
from fastpath.data import enlarge, order, step_inputs
from fastpath.data.augment import geometry, mix
from fastpath.data.dali import graph
from fastpath.data.residency import Pixels
from fastpath.errors import UsageError
from fastpath.runtime import Runtime, resolve
from fastpath.types import Batch, Samples


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
        self._reader: object = None
        self._next_step = -1

    def read(self, first_step: int, count: int) -> Iterator[Batch]:
        """Yield `count` batches from `first_step` on."""
        if self._pipeline is None or self._next_step != first_step:
            self._pipeline = self._build(first_step)
            self._next_step = first_step
        self._reader = reader = object()
        for _ in range(count):
            if self._reader is not reader:
                problem = "found a second iteration begun amid the first, wanted one at a time"
                raise UsageError("loader", problem, "make a loader for each")
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


class _Closing:
    """What is closed at the end of a `with` block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release all that is held."""
        raise NotImplementedError


class TrainLoader(_Closing):
    """Training batches of any epoch from any step; the same for the same (seed, epoch, step), always.

    Iterated, it yields one epoch, and the next one the next time: `set_epoch` says where to go on. Images hold until
    the next batch is asked for; see `Batch`.

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
        self._close_feed, self._next_epoch = close_feed, 0

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[Batch]:
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        return self.epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be that of an epoch, from 0: its order and augmentation."""
        self._next_epoch = epoch

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from `first_step` to its end."""
        start = epoch * self.num_steps + first_step
        batches = self._stream.read(start, self.num_steps - first_step)
        return batches if self._mix is None else map(self._mix, itertools.count(start), batches)

    def close(self) -> None:
        """Release the pipeline, and end the process that works ahead."""
        self._stream.close()
        self._close_feed()


class EvalLoader(_Closing):
    """Patches in a fixed order, without augmentation, as often as it is iterated.

    Images hold until the next batch is asked for; see `Batch`.

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

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: every pass is the same. It is there for loops that tell all their loaders."""

    def close(self) -> None:
        """Release the pipeline."""
        self._stream.close()


def train_loader(
    samples: Samples,
    config: Config | None = None,
    runtime: Runtime | None = None,
    *,
    batch_size: int | None = None,
    image_size: int | None = None,
    augment: Policy | None = None,
    seed: int | None = None,
    device: str = "auto",
    pixels: Pixels | None = None,
) -> TrainLoader:
    """Return the loader of samples in the order and augmentation of training.

    Args:
        samples: What is trained on, from `Store.split`.
        config: `data` and `seed` are read; None is the defaults.
        runtime: Device, threads, rank and world size; None decides by `device`.
        batch_size: In place of `data.batch_size`: patches a step, over all ranks.
        image_size: In place of `data.image_size_px`: side of what is yielded, in pixels.
        augment: In place of `data.augment`: the name of a policy, such as `d4`.
        seed: In place of `seed`.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:1`; read where no runtime is given.
        pixels: From `residency.make_pixel_source`; None reads patches from the store.

    Raises:
        ConfigError: A value out of range.
        UsageError: There are no samples, or no such device.
    """
    config, runtime = _settings(config, batch_size, image_size, augment, seed), runtime or resolve(device)
    size = _not_none(samples)
    layout = step_inputs.training_layout(samples.patches.patch_size_px, config)
    feed = step_inputs.training_feed(samples, config, runtime, pixels, ahead_of_time=True)
    rank_batch_size = -(-config.data.batch_size // runtime.world_size)
    steps = config.data.num_steps(size)

    def build(first_step: int) -> Any:  # noqa: ANN401 (DALI is untyped)
        return graph.training_graph(feed, first_step, layout, rank_batch_size, runtime, config.data.augment)

    stream = _stream(build, samples, config.data.batch_size, steps, runtime)
    return TrainLoader(stream, steps, size, mix.mixer(config, size, runtime), feed.close)


def eval_loader(
    samples: Samples,
    config: Config | None = None,
    runtime: Runtime | None = None,
    *,
    batch_size: int | None = None,
    image_size: int | None = None,
    device: str = "auto",
    pixels: Pixels | None = None,
) -> EvalLoader:
    """Return the loader of samples as they are, in their order.

    Args:
        samples: What is evaluated, from `Store.split`.
        config: `data.image_size_px`, `data.eval_batch_size` and, where that is 0, `data.batch_size` are read; None is
            the defaults.
        runtime: Device, threads, rank and world size; None decides by `device`.
        batch_size: In place of that of the configuration.
        image_size: In place of `data.image_size_px`.
        device: As for `train_loader`.
        pixels: From `residency.make_pixel_source`; None reads patches from the store.

    Raises:
        ConfigError: A value out of range.
        UsageError: There are no samples, or no such device.
    """
    config, runtime = _settings(config, batch_size, image_size), runtime or resolve(device)
    size = len(samples)
    layout = geometry.warp_layout(samples.patches.patch_size_px, config.data.image_size_px, framed=False)
    at_once = config.data.patches_evaluated_at_once if batch_size is None else batch_size
    feed = step_inputs.evaluation_feed(samples, at_once, runtime, pixels)
    rank_batch_size = -(-at_once // runtime.world_size)
    steps = order.num_steps(size, at_once)

    make: Any = enlarge.Enlargement if enlarge.serves(layout, runtime) else graph.evaluation_graph

    def build(first_step: int) -> Any:  # noqa: ANN401 (DALI is untyped)
        return make(feed, first_step, layout, samples.stats, rank_batch_size, runtime)

    return EvalLoader(_stream(build, samples, at_once, steps, runtime), steps, size)


def _settings(
    config: Config | None,
    batch_size: int | None,
    image_size: int | None,
    augment: Policy | None = None,
    seed: int | None = None,
) -> Config:
    """Return a configuration with what was named in place of its own.

    Raises:
        ConfigError: A value out of range.
    """
    config = config or Config()
    named = {"batch_size": batch_size, "image_size_px": image_size, "augment": augment and {"policy": augment}}
    changed = {key: value for key, value in named.items() if value is not None}
    if not changed and seed is None:
        return config
    data = config.data if not changed else DataConfig(**config.data.model_dump(mode="json") | changed)
    return Config(data=data, seed=config.seed if seed is None else seed)


def _not_none(samples: Samples) -> int:
    """Return how many samples there are.

    Raises:
        UsageError: None.
    """
    if not len(samples):
        path = getattr(samples.patches, "path", "samples")
        raise UsageError(path, "found no samples, wanted at least one", "choose another part of the split")
    return len(samples)


def _stream(build: Callable[[int], Any], samples: Samples, batch_size: int, steps: int, runtime: Runtime) -> Stream:
    def total(step: int) -> int:
        return len(order.step_positions(len(samples), batch_size, step % steps))

    return Stream(build, total, samples.patches.labels_N, runtime)
