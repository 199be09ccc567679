"""Worker processes that end when their owner does."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from typing import TypeVar

from threadpoolctl import threadpool_limits

from fastpath.errors import FastpathError

Job = TypeVar("Job")
Result = TypeVar("Result")


BYTES_A_WORKER = 64 << 20  # below this much work, a further process costs more to start than it saves


def default_workers(num_bytes: int) -> int:
    """Return how many processes to use for so many bytes of pixels: at most one a core that this process may use."""
    return min(len(os.sched_getaffinity(0)), 1 + num_bytes // BYTES_A_WORKER)


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    engine: Executor | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Yield each job's position and result as it ends; an error, or closing this, cancels those not begun.

    Args:
        function: What to do; it and the jobs travel by pickle.
        jobs: What to do it to.
        workers: Processes; 1 stays in this process.
        engine: Where to run instead, such as a Dask cluster's executor. It is not shut down.

    Raises:
        FastpathError: A worker process was killed.
    """
    count = min(workers, len(jobs))
    if engine is None and count <= 1:
        with threadpool_limits(1):  # as in a worker
            for position, job in enumerate(jobs):
                yield position, function(job)
        return
    with contextlib.ExitStack() as stack:
        pool = engine or stack.enter_context(local_engine(count))
        futures = {pool.submit(function, job): position for position, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            problem = "a worker process was killed (out of memory?)"
            raise FastpathError("workers", problem, "use fewer --workers") from None
        finally:
            for future in futures:
                future.cancel()


def warm_up() -> None:
    """Start the server that worker processes are forked from; it imports what they need while this one goes on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["fastpath.ingest.fill", __name__])
    forkserver.ensure_running()


def local_engine(workers: int) -> Executor:
    """Return a pool of processes that dies with this one and leaves Ctrl-C to it."""
    warm_up()
    context = multiprocessing.get_context("forkserver")
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
