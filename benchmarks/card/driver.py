"""Runs stages in order, within a budget for all and a limit for each; what fails or hangs stops nothing else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.card import worker
from benchmarks.card.check import Check
from benchmarks.card.stages import Stage

WORTH = 0.6  # of what a stage is expected to take: with less time left it is not begun
START_LIMIT_S = 180.0


class RefusedError(Exception):
    """The device is not there."""


class Worker:
    """A process that runs stages.

    Args:
        check: What they are given.

    Raises:
        RefusedError: The device is not there.
    """

    def __init__(self, check: Check) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would take a half of this process's threads along
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=worker.serve, args=(theirs, check))
        self._process.start()
        theirs.close()
        answer = self._answer(START_LIMIT_S)
        if not isinstance(answer, tuple) or answer[0] != "ready":
            self.close()
            raise RefusedError(answer[1] if isinstance(answer, tuple) else f"the process that runs stages {answer}")
        self.device: str = answer[1]

    def run(self, stage: Stage, limit_s: float) -> object:
        """Return `done`, `failed`, or how the process ended."""
        self._pipe.send(stage)
        return self._answer(limit_s)

    def close(self) -> None:
        """End the process and all that it has started."""
        self._pipe.close()
        if self._process.pid is not None:
            end_tree(self._process.pid)
        self._process.join()

    def _answer(self, limit_s: float) -> object:
        try:
            return self._pipe.recv() if self._pipe.poll(limit_s) else f"was ended after {limit_s:.0f} s"
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            return f"ended by itself with exit status {self._process.exitcode}"


def run(
    check: Check,
    stages: Sequence[Stage],
    budget_s: float,
    patience: float,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Run stages.

    Args:
        check: What they are given. Each is told of as begun, and as done, failed, ended or skipped.
        stages: In order.
        budget_s: Seconds for all of them: a stage that would not fit is skipped, and shorter ones after it may run.
        patience: A stage is ended after so many times the seconds it is expected to take.
        after: Called after each.

    Raises:
        RefusedError: The device is not there.
    """
    process: Worker | None = Worker(check)
    try:
        for stage in stages:
            left = budget_s - (time.time() - check.began)
            if left < WORTH * stage.seconds:
                check.tell(stage.name, status="skipped", left_s=round(left, 1), expected_s=stage.seconds)
                continue
            process = process or Worker(check)
            outcome = process.run(stage, min(patience * stage.seconds, left))
            if outcome != "done":
                process.close()
                process = None
                if outcome != "failed":  # which the stage has told of itself
                    check.tell(stage.name, status="ended", error=f"the stage {outcome}")
            after()
    finally:
        if process is not None:
            process.close()


def end_tree(root: int) -> None:
    """Kill a process and all its descendants, whatever sessions they have begun."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # After the name in brackets, which may hold anything: state, parent.
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    pids = [root]
    for pid in pids:
        pids += children.get(pid, [])
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
