"""Build a store beside its target and rename it whole; what is finished survives a kill.

`STORE.partial/` holds `store/`, which becomes the target, and `work/`, one record for each finished shard. The
directory is locked while a process builds in it, so two packers of one target cannot mix.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from fastpath import files
from fastpath.errors import FastpathError, UsageError
from fastpath.shards import format as fmt

LOCK_PATIENCE_S = 5.0  # workers of a killed run die within moments and take its lock with them


class Finished(fmt.Strict):
    """What is known of a finished shard; written last, so its presence is the proof."""

    rows: int
    """Patches written."""
    hash: str
    """xxh3-128 of the shard file."""
    stamp: str
    """What the file system said of the shard's source files."""
    skipped: list[tuple[str, str]]
    """Names left out and why."""
    notes: dict[str, int]
    """How many files had something left aside, such as an alpha channel."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A store under construction.

    Attributes:
        target: What it will be called.
    """

    target: Path

    @property
    def root(self) -> Path:
        """The directory beside the target that holds everything unfinished."""
        return self.target.with_name(self.target.name + ".partial")

    @property
    def store(self) -> Path:
        """What becomes the target."""
        return self.root / "store"

    @property
    def work(self) -> Path:
        """Records of finished shards."""
        return self.root / "work"

    def record(self, number: int, finished: Finished, rows_N: np.ndarray) -> None:
        """Record a finished shard. Nothing is synced: what a power cut takes or spoils is packed again."""
        (buffer := io.BytesIO()).write(fmt.dump_document(finished))
        np.save(buffer, rows_N, allow_pickle=False)
        content = buffer.getvalue()
        temporary = self.work / f"{number}.{os.getpid()}.tmp"
        temporary.write_bytes(xxhash.xxh3_128_digest(content) + content)
        temporary.replace(self.work / f"{number}.record")

    def finished(self, number: int) -> tuple[Finished, np.ndarray] | None:
        """Return the record of a finished shard and what was learned of its pixels (`format.ROW`), or None."""
        path = self.work / f"{number}.record"
        if not path.exists() or not (self.store / fmt.shard_name(number)).exists():
            return None
        content = path.read_bytes()
        if content[:16] != xxhash.xxh3_128_digest(content[16:]):
            return None
        document, _, table = content[16:].partition(b"}\n")
        rows: np.ndarray = np.load(io.BytesIO(table), allow_pickle=False)
        return fmt.parse_document(document + b"}\n", Finished, path), rows

    def commit(self) -> None:
        """Give the store its name. Everything in it is on disk already."""
        files.sync_directory(self.store)
        if self.target.is_dir() and any(self.target.iterdir()):
            self.target.rename(self.root / "replaced")
        self.store.rename(self.target)
        files.sync_directory(self.target.parent)
        shutil.rmtree(self.root)


@contextmanager
def stage(target: Path, plan: str, *, resume: bool = False) -> Iterator[Staging]:
    """Hold the staging directory of a target, continuing what an earlier run of the same plan finished.

    Args:
        target: The store to be.
        plan: Fingerprint of everything that decides the store's bytes.
        resume: Refuse an unfinished pack of another plan, where else it would be started over; and keep what is
            finished even where the input turns out to be wrong.

    Raises:
        UsageError: The place cannot be written, another process builds there, or the plans differ.
    """
    staging = Staging(target)
    try:
        staging.root.mkdir(parents=True, exist_ok=True)
        lock = _lock(staging)
    except OSError as error:
        raise UsageError(target, f"cannot be written ({error.strerror})", "choose another place for -o") from None
    try:
        _prepare(staging, plan, resume=resume)
        yield staging
    except UsageError:
        if not resume:  # wrong input leaves nothing behind; a kill, a full disk or Ctrl-C leaves finished shards
            shutil.rmtree(staging.root, ignore_errors=True)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            raise
        problem = f"cannot be written ({error.strerror})"
        raise FastpathError(target, problem, "make room, then run the same command with --resume") from None
    finally:
        os.close(lock)


def clear_leftovers(target: Path) -> None:
    """Remove what a run leaves beside its store when it is killed between naming the store and clearing up."""
    staging = Staging(target)
    if not staging.root.is_dir() or staging.store.exists():
        return
    descriptor = os.open(staging.root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not staging.store.exists():
            shutil.rmtree(staging.root, ignore_errors=True)
    except BlockingIOError:
        return  # its owner is at work
    finally:
        os.close(descriptor)


def _lock(staging: Staging) -> int:
    """Lock the staging directory; the lock goes with the process, however it ends."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        descriptor = os.open(staging.root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if staging.root.exists() and os.fstat(descriptor).st_ino == staging.root.stat().st_ino:
                return descriptor
            staging.root.mkdir(parents=True, exist_ok=True)  # its holder finished while we waited
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                problem = "is being packed by another process"
                raise UsageError(staging.target, problem, "wait for it, or choose another target") from None
            time.sleep(0.05)
        os.close(descriptor)


def _prepare(staging: Staging, plan: str, *, resume: bool) -> None:
    """Make the staging directory hold this plan, its finished shards and nothing else."""
    path = staging.root / "plan"
    found = path.read_text(encoding="ascii", errors="replace") if path.exists() else ""
    if found and found != plan:
        if resume:
            problem = "found an unfinished pack of another source or other options, wanted this one"
            raise UsageError(staging.root, problem, "leave --resume out to start over")
        found = ""
    if not found:
        for folder in (staging.store, staging.work):
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (staging.store, staging.work):
        folder.mkdir(exist_ok=True)
        for stale in folder.glob("*.tmp"):
            stale.unlink()
    files.write_durably(path, plan.encode("ascii"))
