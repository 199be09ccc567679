"""Dropout and the like depend on where in a run a step stands, and on nothing that this process ran before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from fastpath.runtime import Runtime


class Chance:
    """Seeds each step of a network that draws random numbers, and no step of one that draws none.

    Whether it does, its first step tells: drawing moves a generator. That holds for whatever draws, by whatever name.

    Args:
        seed: The run's.
        runtime: Its generators are seeded; a rank other than the first draws numbers of its own.
    """

    def __init__(self, seed: int, runtime: Runtime) -> None:
        self._seed, self._runtime = seed, runtime
        self._known, self._draws = False, True

    @contextlib.contextmanager
    def at(self, epoch: int, step: int, *, num_images: int) -> Iterator[None]:
        """Return the context of one step. One without images tells nothing of the network, since nothing is drawn."""
        if not self._draws:
            yield
            return
        self._runtime.seed(self._seed, epoch, step, *([self._runtime.rank] if self._runtime.rank else []))
        before = [] if self._known else self._states()
        yield
        if not self._known and num_images:
            self._draws = not all(map(torch.equal, before, self._states()))
            self._known = True

    def _states(self) -> list[torch.Tensor]:
        return [generator.get_state() for generator in self._runtime.generators]
