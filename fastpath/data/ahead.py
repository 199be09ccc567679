"""Parameters made ahead of time, by a process beside the one that trains.

What a step is fed besides pixels costs the calling thread more than all else it does for a batch, and is known for
every step to come. So a process of its own makes it, some thousand samples at once, by the function that a step would
call (`Recipe.columns`), and a step copies its slice out of memory that both share.

- Until something is there, a step makes its own: the first batches wait for no process to start, and where there can
  be none, or it dies, everything goes on with the same bits. It never waits.
- The memory is a ring of chunks without a name, of at most `WINDOW` chunks whatever the set's size: nothing remains in
  /dev/shm, however a run ends.
- The process knows one number, the chunk that is read now, and makes those that follow, in the next epochs as well. It
  ends with the socket that tells it, or with its owner.

On a card the matrices cross with each step, in copies of DALI's: `coord_transform` takes `MT` from the host only.
docs/decisions/0011-parameters-ahead-of-time.md has the reasons.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastpath.data.augment.artefacts import Columns
from fastpath.data.step_parameters import Recipe, at_least_one_position

CHUNK = 4096  # samples made at once: large enough that a call into NumPy costs nothing, 0.4 MB
WINDOW = 64  # chunks in memory at most: 24 MB for the notebook's policy, 262,144 samples; never more than an epoch
PATIENCE_STEPS = 16  # steps read before a process is started: what looks at a few batches needs none
WORTH_CHUNKS = 3  # of an epoch; a smaller one is made in less time than a process starts in
MESSAGE = struct.Struct("=qq")  # generation, which rises where reading jumps; and the number of a chunk
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@runtime_checkable
class Reopenable(Protocol):
    """A store that can be pickled, to be read in another process."""

    @property
    def labels_N(self) -> NDArray[np.int8]:
        """Label of each row."""

    @property
    def patch_size_px(self) -> int:
        """Side of a patch."""

    @property
    def local(self) -> bool:
        """Whether all of it is on this machine, so that two processes do not fetch the same."""

    def sampled(self, indices_N: NDArray[np.int64], grid: slice) -> NDArray[np.uint8]:
        """Return the pixels of patches on a grid, uint8 [N, K, K, 3]."""


@dataclass(frozen=True)
class Ring:
    """How chunks lie in the memory that two processes share.

    Attributes:
        kinds: Name of each of the columns, with shape and type of one sample's entry.
        samples: Samples of a chunk, at most.
        slots: Chunks; number n lies in slot n % slots.
    """

    kinds: tuple[tuple[str, tuple[int, ...], str], ...]
    samples: int
    slots: int

    @property
    def num_bytes(self) -> int:
        """Size of all of it."""
        return self.slots * sum(self._sizes())

    def _sizes(self) -> list[int]:
        sizes = (self.samples * int(np.prod(shape)) * np.dtype(dtype).itemsize for _, shape, dtype in self.kinds)
        return [-(-size // 64) * 64 for size in sizes]  # each column begins on a line of the cache

    def views(self, memory: mmap.mmap) -> list[Columns]:
        """Return the columns of every slot."""
        chunk_views: list[Columns] = []
        at = 0
        for _ in range(self.slots):
            columns: Columns = {}
            for (name, shape, dtype), size in zip(self.kinds, self._sizes(), strict=True):
                columns[name] = np.ndarray((self.samples, *shape), dtype, memory, at)
                at += size
            chunk_views.append(columns)
        return chunk_views


@dataclass(frozen=True)
class Job:
    """What the process is told when it starts.

    Attributes:
        recipe: What to make.
        patches: Where to look at pixels.
        ring: Where to put what is made.
        steps: Steps a chunk.
        owner: The process it works for.
    """

    recipe: Recipe
    patches: Reopenable
    ring: Ring
    steps: int
    owner: int


class Ahead:
    """The chunks that are there, and the process that makes them, once it is worth one.

    Args:
        recipe: What steps are fed.
        patches: The store; only one that can be reopened is read by another process.
    """

    def __init__(self, recipe: Recipe, patches: object) -> None:
        self._recipe, self._patches = recipe, patches
        self._rank_batch_size = len(at_least_one_position(recipe.rank_positions(0))) if recipe.num_steps else 1
        self._steps = max(1, CHUNK // self._rank_batch_size)
        self.num_chunks = -(-recipe.num_steps // self._steps)
        self._missed_steps = 0
        self._helper: _Helper | None = None

    def fetch(self, epoch: int, step: int) -> Columns | None:
        """Return what a step is fed besides pixels, as arrays of its own; None where it is not there yet."""
        if self._helper is None:
            return None
        part, place = divmod(step, self._steps)
        result = self._helper.chunk(epoch * self.num_chunks + part)
        if result is None:
            return None
        first, count = place * self._rank_batch_size, len(at_least_one_position(self._recipe.rank_positions(step)))
        return {name: column[first : first + count].copy() for name, column in result.items()}

    def missed(self, columns: Columns) -> None:
        """Hear what a step had to make for itself; after the first few, a process is started."""
        self._missed_steps += 1
        if self._missed_steps != PATIENCE_STEPS or self.num_chunks < WORTH_CHUNKS:
            return
        if not isinstance(self._patches, Reopenable) or not self._patches.local:
            return
        kinds = tuple((name, column.shape[1:], column.dtype.str) for name, column in columns.items())
        # One more, since a rank's share of a short last step can be larger than of a full one: 2 of 7, 1 of 8, in 5.
        ring = Ring(kinds, self._steps * self._rank_batch_size + 1, min(WINDOW, self.num_chunks))
        try:
            self._helper = _Helper(Job(self._recipe, self._patches, ring, self._steps, os.getpid()))
        except (OSError, ValueError, TypeError, AttributeError, pickle.PicklingError) as error:
            _give_notice(f"no process could be started ({error})")

    def close(self) -> None:
        """End the process."""
        if self._helper is not None:
            self._helper.close()
        self._helper = None


class _Helper:
    """The process, its memory and the socket between it and this one."""

    def __init__(self, job: Job) -> None:
        self._slots = job.ring.slots
        self._generation, self._wanted, self._received = 1, -1, b""
        self._ready: set[int] = set()
        with _unnamed() as memory, _unnamed() as handed, _unnamed() as report:
            memory.truncate(job.ring.num_bytes)
            pickle.dump(job, handed)
            handed.flush()
            os.lseek(handed.fileno(), 0, os.SEEK_SET)  # the process reads on from where this one stands
            self._views = job.ring.views(mmap.mmap(memory.fileno(), job.ring.num_bytes))
            self._socket, theirs = socket.socketpair()
            with theirs:
                try:
                    process = _start([file.fileno() for file in (theirs, handed, memory)], report)
                except OSError:
                    self._socket.close()
                    raise
            self._report = os.fdopen(os.dup(report.fileno()), "rb")
        self._socket.setblocking(False)
        self.close = weakref.finalize(self, _end, os.getpid(), process, self._socket, self._report)
        self._process = process

    def chunk(self, number: int) -> Columns | None:
        """Return the columns of a chunk, in shared memory, or None; what comes after it is made next."""
        if number != self._wanted:
            self._want(number)
        if number not in self._ready:
            self._listen()
        return self._views[number % self._slots] if number in self._ready else None

    def _want(self, number: int) -> None:
        if not self._wanted <= number < self._wanted + self._slots:
            self._generation += 1
            self._ready.clear()
        self._wanted = number
        # From here on the process may write to the slots of chunks before this one.
        self._ready = {ready for ready in self._ready if ready >= number}
        if self.close.alive:
            try:
                self._socket.send(MESSAGE.pack(self._generation, number))
            except BlockingIOError:
                pass  # it has not listened for very long; the next number tells it as much
            except OSError:
                self._lost()

    def _listen(self) -> None:
        """Take note of chunks that are there."""
        if not self.close.alive:
            return None
        try:
            received = self._socket.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            received = b""
        if not received:
            return self._lost()
        self._received += received
        whole = len(self._received) // MESSAGE.size * MESSAGE.size
        for generation, number in MESSAGE.iter_unpack(self._received[:whole]):
            if generation == self._generation and number >= self._wanted:
                self._ready.add(number)
        self._received = self._received[whole:]
        return None

    def _lost(self) -> None:
        """Say once that the process is gone. What it has made stays; then each step makes its own."""
        try:
            status: int | str = self._process.wait(5)
        except subprocess.TimeoutExpired:
            status = "unknown"
        self._report.seek(0)
        last = self._report.read().decode(errors="replace").strip().splitlines()[-1:]
        self.close()
        _give_notice(f"the process that makes them has ended ({last[0] if last else f'exit status {status}'})")


def _start(handed: Sequence[int], report: BinaryIO) -> subprocess.Popen[bytes]:
    """Start the process: a new interpreter, since a copy of one with threads and a device would not be sound."""
    python_path = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return subprocess.Popen(
        # -P: nothing in the directory it is started in is taken for a module.
        [sys.executable, "-P", "-m", "fastpath.data.ahead_process", *map(str, handed)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=report,
        pass_fds=list(handed),
        process_group=0,  # Ctrl-C on a terminal is for the run, which then ends it
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": python_path},
    )


def _end(owner: int, process: subprocess.Popen[bytes], *files: Any) -> None:  # noqa: ANN401 (a socket, a file)
    if os.getpid() != owner:
        return  # a copy of the owner ends, not the owner
    for file in files:
        file.close()
    process.kill()
    process.wait()


def _unnamed() -> BinaryIO:
    """Return a file in memory that has no name, or on the disk where the system has none in memory."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("fastpath"), "w+b")
    return tempfile.TemporaryFile()


def _give_notice(reason: str) -> None:
    text = f"parameters ahead of time: {reason}; each step makes its own from here on: the same samples, more slowly"
    warnings.warn(text, RuntimeWarning, stacklevel=2)
