"""Worker processes that end when their owner does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor

from threadpoolctl import threadpool_limits


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
    threadpool_limits(1)  # there is a process a core already
    threading.Thread(target=_follow_owner, daemon=True).start()


def _follow_owner() -> None:
    # Pool workers wait on a queue that they keep open themselves: a killed run would leave them behind for ever.
    owner = multiprocessing.parent_process()
    assert owner is not None
    owner.join()
    os._exit(1)
