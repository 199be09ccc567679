"""What a run of several processes does together: stop at the same step, and say so when one of them is gone."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from fastpath.engine.loop import EpochEvent, Event, StepEvent
from fastpath.errors import FastpathError
from fastpath.runtime import Runtime

MEETING_STEPS = 8
"""Steps between two times that ranks ask one another whether to stop: asking waits for the device."""

_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|timed out|broken pipe|remote process", re.IGNORECASE)


class LostRankError(FastpathError):
    """Another process of the run has ended."""


@contextmanager
def together(runtime: Runtime, run_dir: Path) -> Iterator[None]:
    """Join the other ranks for the block.

    Raises:
        LostRankError: One of them ended within it.
    """

    def lost(reason: str) -> LostRankError:
        return LostRankError(
            f"rank {runtime.rank} of {runtime.world_size}",
            f"lost contact with another rank ({' '.join(reason.split())[:120]})",
            f"see what that rank said; the run in {run_dir} goes on from its last checkpoint with --resume",
        )

    def ended(_number: int, _frame: FrameType | None) -> None:
        raise lost("torchrun ends this one too")

    ranked = runtime.world_size > 1
    usual = signal.signal(signal.SIGTERM, ended) if ranked else None
    try:
        with runtime.group():
            yield
    except RuntimeError as error:
        if not ranked or not _LOST.search(str(error)):
            raise
        raise lost(str(error)) from None
    finally:
        if ranked:
            signal.signal(signal.SIGTERM, usual)


def asked_to_stop(pressed: bool, event: Event, runtime: Runtime) -> bool:
    """Return whether to stop after an event: the same on every rank, whichever of them heard Ctrl-C."""
    if runtime.world_size == 1:
        return pressed
    meets = isinstance(event, EpochEvent) or (isinstance(event, StepEvent) and event.step % MEETING_STEPS == 0)
    return meets and bool(runtime.all_reduce_sum(torch.tensor(float(pressed), device=runtime.device)).item())
