"""Where memory runs out, whoever notices it: one line that names the settings which need less."""

from __future__ import annotations

import sys
from typing import NoReturn

import pytest
import torch

from fastpath.cli import main as entry

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


def say(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command line prints of an error, having proven its exit status."""

    def fail(**_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(entry, "app", fail)
    monkeypatch.setattr(sys, "argv", ["fastpath", "train"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "where", "wanted"),
    [
        (torch.OutOfMemoryError(CUDA), "the card", "2.50 GiB"),
        (RuntimeError(DALI + "Can't allocate 1073741824 bytes on device 0."), "the card", "1073741824 bytes"),
        (RuntimeError(DALI + "CUDA allocation failed\nCurrent pipeline object is no longer valid."), "the card", ""),
        (RuntimeError(CPU), "this machine", "4000000000000 bytes"),
        (MemoryError(NUMPY), "this machine", "9.31 GiB"),
        (MemoryError(), "this machine", ""),
    ],
)
def test_it_is_one_line_that_says_what_to_change(
    error: BaseException, where: str, wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = say(error, monkeypatch, capsys)
    assert told.startswith(f"fastpath: {where}: ran out of memory")
    assert told.count("\n") == 1
    assert f"wanted {wanted} more" in told if wanted else "wanted" not in told
    assert all(name in told for name in ("data.batch_size", "train.accumulate", "--residency host"))


def test_torch_says_what_is_looked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60)
    assert "this machine: ran out of memory" in say(refused.value, monkeypatch, capsys)


def test_other_failures_are_told_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = say(RuntimeError("CUDA error: device-side assert triggered"), monkeypatch, capsys)
    assert told.startswith("fastpath: RuntimeError: CUDA error: device-side assert")
    assert "--debug" in told
