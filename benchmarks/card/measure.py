"""Clocks: how long a step takes, and how much of that the calling thread needs to ask for it."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fastpath.data.loader import TrainLoader
from fastpath.runtime import Runtime
from fastpath.types import Batch

WARM = 8  # steps before a clock starts: more than the graph prefetches, and cuDNN has chosen its kernels
ALONE = 20  # steps that are each asked for while the card is idle


def pace(step: Callable[[], int], count: int, runtime: Runtime, alone: int = ALONE) -> dict[str, Any]:
    """Return what a step takes.

    Args:
        step: Asks for a step and returns its patches.
        count: Steps on the clock.
        runtime: The device.
        alone: Steps on the clock of the host.

    Returns:
        `images_per_s` and `total_ms` a step while steps follow one another; `host_ms`, the median wall time that
        the calling thread takes to ask for one while the card is idle, so that it never waits for it; `cpu_ms`, the
        processor's part of that. A step whose host and total time are equal is bound by the host.
    """
    for _ in range(WARM):
        step()
    runtime.synchronize()
    began = time.perf_counter()
    images = sum(step() for _ in range(count))
    runtime.synchronize()
    seconds = time.perf_counter() - began
    walls, cpus = [], []
    for _ in range(alone):
        wall, cpu = time.perf_counter(), time.thread_time()
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
        runtime.synchronize()
    return {
        "images_per_s": round(images / seconds, 1),
        "total_ms": round(1e3 * seconds / count, 3),
        "host_ms": round(1e3 * statistics.median(walls), 3),
        "cpu_ms": round(1e3 * statistics.median(cpus), 3),
    }


def endless(loader: TrainLoader) -> Iterator[Batch]:
    """Yield batches epoch after epoch."""
    return itertools.chain.from_iterable(map(loader.epoch, itertools.count()))


def same(batch: Batch) -> Iterator[Batch]:
    """Yield a copy of one batch for ever, owned by torch as the network's input would be."""
    images = batch.images_NCHW.clone(memory_format=torch.channels_last)
    return itertools.repeat(Batch(images, batch.labels_N.clone(), batch.indices_N.clone()))
