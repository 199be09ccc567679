"""Worker processes that end when their owner does."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor


def default_workers() -> int:
    """Return a process for each core this process may use."""
    return len(os.sched_getaffinity(0))


def local_engine(workers: int) -> Executor:
    """Return a pool of processes that dies with this one and leaves Ctrl-C to it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fastpath.ingest.fill", __name__])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(ctypes.CDLL(None), "prctl"):
        # Pool workers wait on a queue that they keep open themselves: without this, a killed run leaves them
        # behind for ever. The fork server, their parent, ends as soon as its owner does.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
