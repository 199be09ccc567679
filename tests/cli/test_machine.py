"""Where a command computes is decided and told in one place, alike for all commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from fastpath import runtime as runtimes
from fastpath.cli import machine, render
from fastpath.system import run_log


@pytest.mark.parametrize(
    ("verbosity", "plainly", "rank", "described"),
    [(0, False, 0, False), (1, False, 0, True), (-1, True, 0, False), (0, True, 0, True), (1, True, 1, False)],
)
def test_the_first_rank_tells_where_it_computes(
    verbosity: int,
    plainly: bool,
    rank: int,
    described: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runtime = runtimes.Runtime(torch.device("cpu"), notice="float16 is emulated", rank=rank, world_size=2)
    monkeypatch.setattr(runtimes, "resolve", lambda *_, **__: runtime)
    with run_log.of_command(render.Terminal(verbosity)):
        assert machine.choose("cpu", "float16", ranked=True, plainly=plainly) is runtime
    printed = capsys.readouterr()
    assert printed.out == ""
    assert (runtime.describe() in printed.err) == described
    assert printed.err.count("note: float16 is emulated") == (rank == 0)


def test_no_command_decides_by_itself() -> None:
    folder = Path(machine.__file__).parent
    deciding = {
        path.name for path in folder.rglob("*.py") if re.search(r"\bresolve\((?!\))", path.read_text(encoding="utf-8"))
    }
    assert deciding == {"machine.py"}
