"""The CUDA streams that a run works on besides the training's own, and what crosses between host and device.

On the CPU there is nothing to cross, and every value is returned as it is.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


@functools.cache
def _side_stream(device: torch.device) -> Any:  # noqa: ANN401
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@functools.cache
def _copy_stream(device: torch.device) -> Any:  # noqa: ANN401
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Arrival(Protocol):
    """What tells when a copy to the host is whole: a CUDA event, or something that has always happened."""

    def query(self) -> bool:
        """Return whether it is."""

    def synchronize(self) -> None:
        """Wait until it is; from any thread."""


class _Arrived:
    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class LoaderStream:
    """A CUDA stream by CUDA's own protocol, made when first used: a graph can be looked at where there is no driver."""

    device: torch.device

    def __cuda_stream__(self) -> tuple[int, int]:
        """Return the protocol's version and the stream's handle."""
        return 0, int(_side_stream(self.device).cuda_stream)


class Streamed:
    """The part of a `Runtime` that concerns streams.

    Attributes:
        device: The torch device of model and batches.
    """

    __slots__ = ()

    device: torch.device

    @property
    def loader_stream(self) -> LoaderStream | None:
        """The CUDA stream on which patches are gathered, so that they do not queue behind training; None on the CPU."""
        return LoaderStream(self.device) if self.device.type == "cuda" else None

    @property
    def training_stream(self) -> Any | None:  # noqa: ANN401
        """The CUDA stream on which batches are used; None on the CPU."""
        return torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None

    def on_loader_stream(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the device works on the loader's stream."""
        return torch.cuda.stream(_side_stream(self.device)) if self.device.type == "cuda" else contextlib.nullcontext()

    def upload(self, array: np.ndarray[Any, Any]) -> Tensor:
        """Return a host array on the device: pinned and copied without waiting on a card, as it is on the CPU.

        The copy is queued on the present stream; torch keeps the pinned memory until it is done.
        """
        host = torch.from_numpy(array)
        if self.device.type != "cuda":
            return host
        return host.pin_memory().to(self.device, non_blocking=True)

    def record_event(self) -> Callable[[], None]:
        """Return a function that waits for what has been asked of the present stream so far, and for no more."""
        if self.device.type != "cuda":
            return lambda: None
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return lambda: event.synchronize()

    def host_like(self, tensor: Tensor) -> Tensor:
        """Return room on the host for a tensor: of its form, and pinned where a card is to copy into it."""
        pinned = self.device.type == "cuda"
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, pin_memory=pinned)

    def to_host(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Arrival:
        """Copy tensors as they will be once all that training has asked for is done, without waiting for it.

        The copy has a stream of its own, as on the loader's it would hold up the patches of coming steps until all
        steps that are queued are done. It begins after what training has asked for, and training goes on after it:
        the next step writes into these very tensors, and so may whoever is given their memory once they are freed.

        Args:
            sources: On the device or the host.
            targets: From `host_like`; not to be read, changed or freed before the copy has arrived.
        """
        if self.device.type != "cuda":
            _copy(sources, targets)
            return _Arrived()
        training, stream = self.training_stream, _copy_stream(self.device)
        assert training is not None
        stream.wait_stream(training)
        with torch.cuda.stream(stream):
            _copy(sources, targets)
            event: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record(stream)
        training.wait_event(event)
        return event  # type: ignore[no-any-return]


@torch.no_grad()
def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source, non_blocking=True)
