"""A pytest plugin: a time limit a test, and a line on the disk before and after each.

It stands in for pytest-timeout where that is not installed. A test that Python can interrupt fails at its limit; one
that hangs in a library, or in the card, ends its process some time after, and the lines say which test that was.

Usage: python -m pytest -p benchmarks.card.limits --limit-s 60 --outcomes tests.jsonl
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import types
from collections.abc import Generator
from pathlib import Path

import pytest

GRACE_S = 10.0  # from a test's limit to its process's end


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the limit, and the file."""
    parser.addoption("--limit-s", type=float, default=60.0, help="Seconds a test may take.")
    parser.addoption("--outcomes", type=Path, required=True, help="File to which each test's outcome is added.")


class Limits:
    """Watches over each test."""

    def __init__(self, limit_s: float, outcomes: Path) -> None:
        self._limit_s, self._outcomes = limit_s, outcomes

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run one test within its limit."""
        self._tell(item.nodeid, "begun")
        faulthandler.dump_traceback_later(self._limit_s + GRACE_S, exit=True)
        signal.signal(signal.SIGALRM, self._interrupt)
        signal.setitimer(signal.ITIMER_REAL, self._limit_s)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test's outcome: of its call, or of what kept it from being called, or failed after it."""
        if report.when == "call" or report.outcome != "passed":
            self._tell(report.nodeid, report.outcome, (report.longreprtext.strip().splitlines() or [""])[-1])

    def _interrupt(self, _signal: int, _frame: types.FrameType | None) -> None:
        raise TimeoutError(f"the test took longer than {self._limit_s:.0f} s")

    def _tell(self, test: str, outcome: str, last_line: str = "") -> None:
        with self._outcomes.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"test": test, "outcome": outcome, "said": last_line}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def pytest_configure(config: pytest.Config) -> None:
    """Set the watch."""
    config.pluginmanager.register(Limits(config.getoption("--limit-s"), config.getoption("--outcomes")), "limits")
