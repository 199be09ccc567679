"""Where patches wait to be fed: in the store's files, or all of them in the memory of the device.

Three residencies behind one interface, `Pixels`. `ResidentPixels` holds the whole split as one tensor on the device, so
that nothing but row numbers and matrices, some hundred bytes a sample, crosses to the card. `StagedPixels` copies each
batch from the store through pinned memory. `StorePixels` reads the store; on the CPU that is all there is to do. They
yield the same bytes.

On CUDA all of this happens on the loader's own stream, where DALI then copies the batch from: tensors are allocated,
filled, read and freed in the order of that one stream, so none is overwritten while it is still read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastpath.data.augment import colour
from fastpath.errors import UsageError
from fastpath.runtime import Runtime
from fastpath.types import Patches

Residency = Literal["device", "host"]
ResidencyChoice = Literal["auto", "device", "host"]
"""What may be asked for; `budget` decides."""

CHUNK = 4096  # patches read at once while a device is filled: 113 MB
SLOTS = 3  # pinned buffers: one being filled, one being copied, one to spare


class Pixels(Protocol):
    """Patches by row, ready for the graph."""

    def fetch(self, rows_N: NDArray[np.int64], frame_px: int = 0) -> Any:  # noqa: ANN401 (an array, or a CUDA tensor)
        """Return uint8 [N, H, W, 3], each patch within a black frame: an array, or a tensor on the card."""

    def fetch_with_probes(self, rows_N: NDArray[np.int64], frame_px: int) -> tuple[Any, NDArray[np.float32]]:
        """Return the same, and the pixels to which colour is fitted: float32 [N, 64, 3] in 0..1, on the host."""


class StorePixels:
    """Patches read from the store, for a graph on the CPU."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def fetch(self, rows_N: NDArray[np.int64], frame_px: int = 0) -> NDArray[np.uint8]:
        """Return a new array."""
        if not frame_px:
            return self._patches.gather(rows_N)
        side = self._patches.patch_size_px + 2 * frame_px
        framed = np.zeros((len(rows_N), side, side, 3), dtype=np.uint8)
        self._patches.gather(rows_N, inner(framed, frame_px))
        return framed

    def fetch_with_probes(
        self, rows_N: NDArray[np.int64], frame_px: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return a new array and its probes."""
        framed = self.fetch(rows_N, frame_px)
        return framed, colour.probe_pixels(inner(framed, frame_px))


class StagedPixels:
    """Patches read from the store into pinned memory, and from there to the device without waiting."""

    def __init__(self, patches: Patches, runtime: Runtime) -> None:
        self._patches, self._runtime = patches, runtime
        self._ring: list[tuple[Tensor, Callable[[], None]] | None] = [None] * SLOTS
        self._turn = 0

    def fetch(self, rows_N: NDArray[np.int64], frame_px: int = 0) -> Any:  # noqa: ANN401 (an array, or a CUDA tensor)
        """Return a new tensor on the card, or a new array."""
        return self._upload(self._fill(rows_N, frame_px))

    def fetch_with_probes(self, rows_N: NDArray[np.int64], frame_px: int) -> tuple[Any, NDArray[np.float32]]:
        """Return the same and its probes."""
        host = self._fill(rows_N, frame_px)
        return self._upload(host), colour.probe_pixels(inner(host.numpy(), frame_px))

    def _fill(self, rows_N: NDArray[np.int64], frame_px: int) -> Tensor:
        """Gather into the next buffer of the ring, once its last copy to the device is done."""
        self._turn = (self._turn + 1) % SLOTS
        side = self._patches.patch_size_px + 2 * frame_px
        slot = self._ring[self._turn]
        if slot is not None:
            slot[1]()
        if slot is None or len(slot[0]) < len(rows_N) or slot[0].shape[1] != side:
            pinned = self._runtime.device.type == "cuda"
            # The frame is blackened once: gathering writes inside it only.
            slot = (torch.zeros((len(rows_N), side, side, 3), dtype=torch.uint8, pin_memory=pinned), lambda: None)
            self._ring[self._turn] = slot
        host = slot[0][: len(rows_N)]
        self._patches.gather(rows_N, inner(host.numpy(), frame_px))
        return host

    def _upload(self, host: Tensor) -> Any:  # noqa: ANN401
        with self._runtime.on_loader_stream():
            images = host.to(self._runtime.device, non_blocking=True, copy=True)
            buffer, _ = self._ring[self._turn] or (host, None)
            self._ring[self._turn] = (buffer, self._runtime.record_event())
        return _for_graph(images)


class ResidentPixels:
    """All patches of some rows as one tensor on the device, within the frame that training asks for.

    Args:
        patches: The store.
        rows_M: int64 [M], rows that will be asked for, no two alike.
        runtime: The device.
        frame_px: Width of the black frame that they are kept in; another is made when it is asked for.
    """

    def __init__(self, patches: Patches, rows_M: NDArray[np.int64], runtime: Runtime, frame_px: int = 0) -> None:
        self._runtime, self._frame_px = runtime, frame_px
        self._place = np.full(len(patches.labels_N), -1, dtype=np.int64)
        self._place[rows_M] = np.arange(len(rows_M))
        side = patches.patch_size_px + 2 * frame_px
        self._probes = np.empty((len(rows_M), colour.PROBES_PER_SIDE**2, 3), dtype=np.uint8)
        with runtime.on_loader_stream():
            self._images = torch.zeros((len(rows_M), side, side, 3), dtype=torch.uint8, device=runtime.device)
            for start in range(0, len(rows_M), CHUNK):
                chunk = patches.gather(rows_M[start : start + CHUNK])
                inner(self._images[start : start + CHUNK], frame_px).copy_(torch.from_numpy(chunk))
                # Probes are bytes over 255: rounding brings the bytes back, a quarter of the memory.
                self._probes[start : start + CHUNK] = np.rint(colour.probe_pixels(chunk) * 255)

    def fetch(self, rows_N: NDArray[np.int64], frame_px: int = 0) -> Any:  # noqa: ANN401 (an array, or a CUDA tensor)
        """Return a new tensor on the card, or a new array."""
        with self._runtime.on_loader_stream():
            places, missing_px = self._runtime.upload(self._place[rows_N]), max(0, frame_px - self._frame_px)
            images = inner(self._images, self._frame_px - frame_px + missing_px).index_select(0, places)
            if missing_px:
                side = images.shape[1] + 2 * missing_px
                framed = torch.zeros((len(images), side, side, 3), dtype=torch.uint8, device=images.device)
                inner(framed, missing_px).copy_(images)
                images = framed
        return _for_graph(images)

    def fetch_with_probes(self, rows_N: NDArray[np.int64], frame_px: int) -> tuple[Any, NDArray[np.float32]]:
        """Return the same and its probes."""
        probes = np.divide(self._probes[self._place[rows_N]], 255, dtype=np.float32)
        return self.fetch(rows_N, frame_px), probes


def _for_graph(images: Tensor) -> Any:  # noqa: ANN401 (DALI takes any tensor of torch to be on a card)
    return images if images.device.type == "cuda" else images.numpy()


def inner(framed: Any, frame_px: int) -> Any:  # noqa: ANN401 (array in, array out; tensor in, tensor out)
    """Return the view of [N, H, W, 3] without its frame."""
    return framed[:, frame_px : framed.shape[1] - frame_px, frame_px : framed.shape[2] - frame_px]


@dataclass(frozen=True, slots=True)
class Budget:
    """Where patches will wait, and the memory that decided it.

    Attributes:
        residency: `device` or `host`.
        split_bytes: Of the patches trained and validated on.
        free_bytes: Of the device, before they are loaded.
        reserve_bytes: Left free for the network, where the choice was automatic.
    """

    residency: Residency
    split_bytes: int
    free_bytes: int
    reserve_bytes: int

    def describe(self) -> str:
        """Return one line for consoles."""
        location = "all on the device" if self.residency == "device" else "read from the store as needed"
        sizes = (f"{size / 2**30:.2f} GiB" for size in (self.split_bytes, self.free_bytes, self.reserve_bytes))
        return "patches {} ({} of pixels, {} free, {} of it kept for the network)".format(location, *sizes)


def budget(asked: ResidencyChoice, num_patches: int, patch_px: int, runtime: Runtime, frame_px: int = 0) -> Budget:
    """Decide where patches wait.

    `auto` puts them on a CUDA device if at least as much memory stays free as they take: the network's activations are
    not known yet, and running out of memory in the first step would be worse than a copy a step. On the CPU it leaves
    them in the store, which the page cache holds in the same memory already.

    Args:
        asked: What to do.
        num_patches: Patches trained and validated on.
        patch_px: Side of a patch.
        runtime: The device.
        frame_px: Width of the black frame that resident patches are kept in.

    Raises:
        UsageError: `device` was asked for and the patches do not fit.
    """
    split_bytes, free_bytes = num_patches * (patch_px + 2 * frame_px) ** 2 * 3, runtime.free_bytes
    if asked == "device" and split_bytes > free_bytes:
        raise UsageError(
            "--residency device",
            f"found {free_bytes / 2**30:.2f} GiB free, wanted {split_bytes / 2**30:.2f} GiB for the patches",
            "use --residency host, or --limit",
        )
    fits = runtime.device.type == "cuda" and split_bytes <= free_bytes // 2
    chosen: Residency = "device" if asked == "device" or (asked == "auto" and fits) else "host"
    return Budget(chosen, split_bytes, free_bytes, free_bytes // 2)


def make_pixel_source(
    patches: Patches, rows_M: NDArray[np.int64], residency: Residency, runtime: Runtime, frame_px: int = 0
) -> Pixels:
    """Return the pixels of a store, having read these rows where they are to be resident.

    Args:
        patches: The store.
        rows_M: int64 [M], rows that will be asked for, in any order, repeats allowed.
        residency: From `budget`.
        runtime: The device.
        frame_px: Width of the black frame that training asks for, so that resident patches are kept in it.
    """
    if residency == "device":
        return ResidentPixels(patches, np.unique(rows_M), runtime, frame_px)
    return pixels_on_demand(patches, runtime)


def pixels_on_demand(patches: Patches, runtime: Runtime) -> Pixels:
    """Return the pixels of a store, each read when it is asked for."""
    return StagedPixels(patches, runtime) if runtime.device.type == "cuda" else StorePixels(patches)
