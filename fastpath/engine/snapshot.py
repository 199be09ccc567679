"""Copies in the memory of the host of what changes on the device, made without waiting for it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from fastpath.engine.archive import tensors
from fastpath.engine.checkpoint import Checkpoint
from fastpath.runtime import Arrival, Runtime


class Snapshot:
    """Room for one copy, filled anew at each `take`: as much memory as one checkpoint, however often that is."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._room: dict[str, Tensor] = {}

    def take(self, checkpoint: Checkpoint) -> tuple[Checkpoint, Arrival]:
        """Copy what shares its tensors with training. The copy before it is overwritten.

        Returns:
            The copy, to be read once it has arrived, and what tells that. Training may go on at once.
        """
        values = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
        sources = dict(tensors(values))
        # An optimiser has no state before its first step, and another stage's is of another form.
        self._room = {name: self._fitting(name, source) for name, source in sources.items()}
        arrival = self._runtime.to_host(list(sources.values()), list(self._room.values()))
        return replace(checkpoint, **_with(values, iter(self._room.values()))), arrival

    def _fitting(self, name: str, source: Tensor) -> Tensor:
        room = self._room.get(name)
        if room is None or (room.size(), room.stride(), room.dtype) != (source.size(), source.stride(), source.dtype):
            return self._runtime.host_like(source)
        return room


class LateScalar:
    """A number on the device as it was some time ago. Looking at it waits for nothing."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._room: Tensor | None = None
        self._arrival: Arrival | None = None
        self._value: float | None = None

    def look(self, number: Tensor) -> float | None:
        """Send for a number unless one is on its way; return the last that has come, None before the first.

        Args:
            number: [] on the device; always of the same dtype.
        """
        self._take()
        if self._arrival is None:
            self._room = self._runtime.host_like(number) if self._room is None else self._room
            self._arrival = self._runtime.to_host([number], [self._room])
            self._take()
        return self._value

    def _take(self) -> None:
        if self._arrival is not None and self._room is not None and self._arrival.query():
            self._value, self._arrival = self._room.item(), None


def _with(value: Any, copies: Iterator[Tensor]) -> Any:  # noqa: ANN401 (nested values of any kind)
    """Return nested values anew, with each tensor, in the order of `archive.tensors`, replaced by its copy."""
    if isinstance(value, Tensor):
        return next(copies)
    if isinstance(value, dict):
        made = copy.copy(value)  # a state dict holds more than its items: versions of the modules
        for key, each in value.items():
            made[key] = _with(each, copies)
        return made
    if isinstance(value, list | tuple):
        return type(value)(_with(each, copies) for each in value)
    return value
