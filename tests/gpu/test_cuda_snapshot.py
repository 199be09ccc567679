"""What only a card can show: a copy to the host is of its moment, however far training is ahead of the card."""

from __future__ import annotations

import pytest
import torch

from fastpath import runtime
from fastpath.engine.snapshot import LateScalar

pytestmark = pytest.mark.gpu


def test_a_copy_is_neither_early_nor_late(cuda: runtime.Runtime) -> None:
    """A long step before it, a write to the same memory right after it, and its memory given to others."""
    work = torch.randn(4096, 4096, device=cuda.device)
    for _ in range(5):
        weight = torch.zeros(1 << 24, device=cuda.device)
        room = cuda.host_like(weight)
        assert room.is_pinned()
        for _ in range(20):
            work = torch.nn.functional.normalize(work @ work)
        weight += 1
        arrival = cuda.to_host([weight], [room])
        weight += 1
        del weight
        torch.full((1 << 24,), 7.0, device=cuda.device)  # most likely in the memory that was just freed
        arrival.synchronize()
        assert bool((room == 1).all())


def test_a_loss_is_shown_when_it_has_arrived(cuda: runtime.Runtime) -> None:
    late, loss = LateScalar(cuda), torch.zeros((), device=cuda.device)
    shown = []
    for _ in range(20):
        loss = loss + 1
        shown.append(late.look(loss))
    losses = [value for value in shown if value is not None]
    assert losses == sorted(losses)
    cuda.synchronize()
    assert late.look(loss) is not None
