"""Watches for a loss that is not finite, without waiting for the device at each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastpath.errors import FastpathError

INTERVAL = 64
"""Steps between two looks: a bad step is noticed at the latest after twice as many."""


class NonFiniteLossError(FastpathError):
    """A training loss is NaN or infinite.

    Args:
        epoch: 0-based.
        step: 0-based, within the epoch.
        loss: What it was.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        self.epoch, self.step, self.loss = epoch, step, loss
        super().__init__(
            f"epoch {epoch + 1}, step {step + 1}",
            f"found a training loss of {loss}, wanted a finite one",
            "lower the learning rate, or train without --amp",
        )

    def __reduce__(self) -> tuple[type[NonFiniteLossError], tuple[int, int, float]]:  # type: ignore[override]
        """Survive the way back from another process."""
        return type(self), (self.epoch, self.step, self.loss)


class LossGuard:
    """Keeps an epoch's losses until their sum, which one bad loss spoils for good, is known to be finite.

    The sum is copied to the host every so many steps, and read as many steps later, when the copy is long done.
    """

    def __init__(self, epoch: int, first_step: int, device: torch.device) -> None:
        """Begin an epoch, or go on with it.

        Args:
            epoch: 0-based.
            first_step: The step of the first loss to come.
            device: Where losses lie.
        """
        self._epoch, self._next_step = epoch, first_step
        self._recent: list[Tensor] = []
        on_host = torch.zeros((), dtype=torch.float64)
        self._copy = on_host.pin_memory() if device.type == "cuda" else on_host
        self._seen = self._copy.numpy()  # the same memory: reading it asks nothing of torch

    def add(self, loss: Tensor, loss_sum: Tensor) -> None:
        """Take a step's loss and the sum of losses up to it, both [] on the device.

        Raises:
            NonFiniteLossError: A loss of some steps ago was not finite.
        """
        self._recent.append(loss)
        self._next_step += 1
        if self._next_step % INTERVAL:
            return
        if not math.isfinite(float(self._seen)):
            self._tell()
        del self._recent[: -2 * INTERVAL]
        self._copy.copy_(loss_sum, non_blocking=True)

    def check(self, loss_sum: Tensor) -> None:
        """Wait for the device and look.

        Raises:
            NonFiniteLossError: A loss was not finite.
        """
        if not math.isfinite(loss_sum.item()):
            self._tell()

    def _tell(self) -> None:
        """Find the first bad step and raise."""
        losses = torch.stack(self._recent).cpu()
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        first = int(bad[0]) if len(bad) else len(losses) - 1
        raise NonFiniteLossError(self._epoch, self._next_step - len(losses) + first, float(losses[first]))
