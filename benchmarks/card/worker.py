"""The process in which stages run. One that fails may have spoilt the device's state, so it ends its process."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.card.check import Check
from benchmarks.card.stages import Stage

ROOT = Path(__file__).resolve().parents[2]


def serve(pipe: Connection, check: Check) -> None:
    """Say whether the device is there, then run each stage that comes, until one fails or none does."""
    os.chdir(ROOT)  # where `python -m` finds the peers and pytest the tests
    from fastpath.errors import FastpathError

    try:
        pipe.send(("ready", check.runtime().describe()))
    except FastpathError as error:
        pipe.send(("refused", str(error)))
        return
    try:
        while True:
            stage: Stage = pipe.recv()
            outcome = attempt(stage, check)
            pipe.send(outcome)
            if outcome != "done":
                break
    except (EOFError, BrokenPipeError):
        pass  # the driver has ended: nothing is left to do
    os._exit(0)  # threads and libraries of a device that may hang must not hold up what comes next


def attempt(stage: Stage, check: Check) -> str:
    """Run one stage, and tell that it began and how it ended: `done` or `failed`."""
    began = time.perf_counter()
    check.tell(stage.name, status="begun", expected_s=stage.seconds)
    try:
        module, function = stage.run.split(":")
        getattr(importlib.import_module(module), function)(check)
        status, why = "done", {}
    except Exception as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        status, why = "failed", {"error": line, "trace": traceback.format_exc()[-4000:]}
    check.tell(stage.name, status=status, seconds=round(time.perf_counter() - began, 1), **why)
    if status == "done" and "torch" in sys.modules:
        from benchmarks.card import device

        gc.collect()
        device.forget(check.device)
    return status
