"""Patches in memory, and runtimes, for the tests of order, augmentation, graph and loader."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastpath.runtime import Runtime
from fastpath.types import ChannelStats


class MemoryPatches:
    """What a source needs of a store, from an array."""

    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        self.images_NHWC = images_NHWC
        self.labels_N = (np.arange(len(images_NHWC)) % 5 < 2).astype(np.int8)
        self.patch_size_px = images_NHWC.shape[1]

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        if out_NHWC is None:
            return self.images_NHWC[indices_N]
        out_NHWC[:] = self.images_NHWC[indices_N]
        return out_NHWC


def smooth_patches(count: int, size: int = 96, seed: int = 3) -> NDArray[np.uint8]:
    """Coloured blobs, no two alike and none symmetric: a few random waves a channel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = rng.uniform(-2.0, 2.0, (count, 3, 4, 2))
    phase = rng.uniform(0, 2 * np.pi, (count, 3, 4, 1, 1))
    angle = 2 * np.pi * (waves[..., 0, None, None] * x + waves[..., 1, None, None] * y) + phase
    field = np.sin(angle).sum(axis=2) / 4
    field = 0.3 * field + 0.7 * field[:, :1]  # channels of stained tissue vary together
    colour = np.array([170.0, 115.0, 165.0])[:, None, None] + 80 * field
    return np.clip(colour, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


@pytest.fixture(scope="session")
def patches() -> MemoryPatches:
    return MemoryPatches(smooth_patches(64))


@pytest.fixture(scope="session")
def stats() -> ChannelStats:
    return ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return Runtime(torch.device("cpu"), num_threads=2)
