"""Where memory runs out, whoever notices it: one line that names the settings which need less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

Say = Callable[[BaseException], tuple[object, str]]
CUDA = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.20 GiB is "
    "free.\n"
    "Process 1 has 77.00 GiB memory in use."
)
CPU = (
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
DALI = "Critical error in pipeline:\nError when executing GPU operator WarpPerspective encountered:\n"
NUMPY = "Unable to allocate 9.31 GiB for an array with shape (100000, 100000)"


@pytest.mark.parametrize(
    ("error", "location", "wanted"),
    [
        (torch.OutOfMemoryError(CUDA), "the card", "2.50 GiB"),
        (RuntimeError(DALI + "Can't allocate 1073741824 bytes on device 0."), "the card", "1073741824 bytes"),
        (RuntimeError(DALI + "CUDA allocation failed\nCurrent pipeline object is no longer valid."), "the card", ""),
        (RuntimeError(CPU), "this machine", "4000000000000 bytes"),
        (MemoryError(NUMPY), "this machine", "9.31 GiB"),
        (MemoryError(), "this machine", ""),
    ],
)
def test_it_is_one_line_that_says_what_to_change(error: BaseException, location: str, wanted: str, say: Say) -> None:
    status, message = say(error)
    assert status == 1
    assert message.startswith(f"fastpath: {location}: ran out of memory")
    assert message.count("\n") == 1
    assert f"wanted {wanted} more" in message if wanted else "wanted" not in message
    assert all(name in message for name in ("data.batch_size", "train.accumulate", "--residency host"))


def test_torch_says_what_is_looked_for(say: Say) -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60)
    status, message = say(refused.value)
    assert status == 1
    assert "this machine: ran out of memory" in message


def test_other_failures_are_told_as_they_are(say: Say) -> None:
    status, message = say(RuntimeError("CUDA error: device-side assert triggered"))
    assert status == 1
    assert message.startswith("fastpath: RuntimeError: CUDA error: device-side assert")
    assert "--debug" in message
