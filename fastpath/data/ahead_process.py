"""The process that makes parameters ahead of time: `python -m fastpath.data.ahead_process SOCKET JOB MEMORY`.

Started by `ahead` and by nothing else; the arguments are open files. It imports neither torch nor DALI.
"""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import socket
import sys
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastpath.data.ahead import MESSAGE, Job, Reopenable
from fastpath.data.augment import colour
from fastpath.data.augment.artefacts import Columns
from fastpath.data.step_parameters import ROWS

NICENESS = 10  # the run comes first: it can do this itself
BLOCK = 1024  # samples at once: intermediate results stay in the cache, and the process below 150 MB
KEPT_BYTES = 256 << 20  # of probed pixels, 192 a patch; a larger store's are read anew each epoch
OWNER_MS = 1000  # how often a process that has nothing to do looks for its owner


class Probes:
    """The pixels of patches to which colour is fitted: read once from the store, and no others with them."""

    def __init__(self, patches: Reopenable) -> None:
        self._patches, self._grid = patches, colour.probe_grid(patches.patch_size_px)
        side = colour.PROBES_PER_SIDE
        count = len(patches.labels_N) if len(patches.labels_N) * side**2 * 3 <= KEPT_BYTES else 0
        self._known = np.zeros(count, bool)
        self._kept = np.zeros((count, side, side, 3), np.uint8)  # takes memory where it is written

    def __call__(self, rows_N: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 [N, 64, 3] in 0..1, as `colour.probe_pixels` of the patches."""
        if not len(self._known):
            rows, back = np.unique(rows_N, return_inverse=True)
            return colour.unit_range(self._patches.sampled(rows, self._grid)[back])
        missing = np.unique(rows_N[~self._known[rows_N]])  # in the order of the disk
        self._kept[missing] = self._patches.sampled(missing, self._grid)
        self._known[missing] = True
        return colour.unit_range(self._kept[rows_N])


class Maker:
    """Makes chunks by number."""

    def __init__(self, job: Job) -> None:
        self._recipe, self._steps, self._look = job.recipe, job.steps, Probes(job.patches)
        self._block = max(1, BLOCK * job.steps // job.ring.samples)
        self._num_chunks = -(-job.recipe.num_steps // job.steps)
        self._order = lru_cache(maxsize=2)(job.recipe.order)

    def __call__(self, number: int, into: Columns) -> None:
        """Write the columns of a chunk."""
        epoch, part = divmod(number, self._num_chunks)
        end, filled = min((part + 1) * self._steps, self._recipe.num_steps), 0
        for first in range(part * self._steps, end, self._block):
            steps = range(first, min(first + self._block, end))
            made = self._recipe.columns(epoch, steps, self._order(epoch), self._look)
            for name, values in made.items():
                into[name][filled : filled + len(values)] = values
            filled += len(made[ROWS])


def serve(job: Job, connection: socket.socket, memory: mmap.mmap) -> None:
    """Make the chunks after the one that is read now, as many as there are slots, until the owner is gone."""
    make, views = Maker(job), job.ring.views(memory)
    generation, wanted, following = 0, 0, 0
    listening = select.poll()
    listening.register(connection, select.POLLIN)
    while os.getppid() == job.owner:
        idle = generation == 0 or following >= wanted + len(views)
        if listening.poll(OWNER_MS if idle else 0):
            received = connection.recv(1 << 16)
            if not received:
                return
            for of_generation, number in MESSAGE.iter_unpack(received):
                following = number if of_generation != generation else max(number, following)
                generation, wanted = of_generation, number
        elif not idle:
            make(following, views[following % len(views)])
            connection.sendall(MESSAGE.pack(generation, following))
            following += 1


def main() -> None:
    """Do what the job says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    connection_file, job_file, memory_file = map(int, sys.argv[1:])
    with os.fdopen(job_file, "rb") as file:
        job: Job = pickle.load(file)
    try:
        serve(job, socket.socket(fileno=connection_file), mmap.mmap(memory_file, job.ring.num_bytes))
    except ConnectionError:
        return  # the owner is gone


if __name__ == "__main__":
    main()
