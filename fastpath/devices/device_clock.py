"""How long a device is idle between steps: the time that a slow loader costs, and no other.

A card works behind the host's back: while the host waits for the loader the card may well be busy with the step before,
and where it is not, the host may be the one that is late. So on CUDA the card itself is asked, by events on the stream
that trains: one after the last kernel of a step, one before the first of the next. They are read when they have passed,
and nothing ever waits for them. On a CPU a step is done when it returns: the wait for the loader is the idle time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch

Item = TypeVar("Item")


class IdleClock(Protocol):
    """Measures the idle time of a device over steps that follow one another."""

    def next(self, batches: Iterator[Item]) -> Item:
        """Return the next batch; the step on it is about to begin."""

    def step_done(self) -> None:
        """Note that all of a step has been asked of the device."""

    def idle_s(self) -> float:
        """Return the seconds that the device has been idle, as far as is known: a card may be some steps behind."""


class HostClock:
    """Of a CPU: idle while the loader is waited for."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._idle_s = clock, 0.0

    def next(self, batches: Iterator[Item]) -> Item:
        """Return the next batch, and add the wait for it."""
        asked = self._clock()
        batch = next(batches)
        self._idle_s += self._clock() - asked
        return batch

    def step_done(self) -> None:
        """Nothing to note: the step is done."""

    def idle_s(self) -> float:
        """Return the seconds of all waits."""
        return self._idle_s


class CudaClock:
    """Of a card: idle from the end of all that a step asked of the training stream to the first that the next one asks.

    Begins when it is made. What the loader has put into the training stream, such as its wait for a copy, belongs to
    the idle time.

    Args:
        event: Makes a CUDA event that takes the time.
    """

    def __init__(self, event: Callable[[], Any] | None = None) -> None:
        self._make = event or (lambda: torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
        self._free: list[Any] = []
        self._gaps: deque[tuple[Any, Any]] = deque()
        self._idle_ms = 0.0
        self._end = self._record()

    def next(self, batches: Iterator[Item]) -> Item:
        """Return the next batch, and mark on the card where its step begins."""
        batch = next(batches)
        self._gaps.append((self._end, self._record()))
        return batch

    def step_done(self) -> None:
        """Mark on the card where the step ends."""
        self._end = self._record()

    def idle_s(self) -> float:
        """Return the seconds of the gaps that the card has passed."""
        while self._gaps and self._gaps[0][1].query():
            end, begin = self._gaps.popleft()
            self._idle_ms += end.elapsed_time(begin)
            self._free += [end, begin]
        return self._idle_ms / 1000

    def _record(self) -> Any:  # noqa: ANN401
        event = self._free.pop() if self._free else self._make()
        event.record()
        return event
