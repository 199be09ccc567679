"""Build a store beside its target and give it its name whole; what is finished survives a kill.

`STORE.fastpath-partial/` (`place` says whose it is) holds `store/`, which becomes the target, `work/`, one record for
each finished shard, `plan`, a fingerprint of what is built, and, while one store takes another's place, `commit`.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from fastpath.errors import FastpathError, IntegrityError, UsageError
from fastpath.store import format as fmt
from fastpath.store import place
from fastpath.system.files import (
    as_failure,
    exchange,
    read_regular,
    sync_directory,
    temporary_name,
    write_durably,
)

_RECORD_BYTES_MAX = 1 << 30  # of 64 MiB of patches of 8 pixels


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
        return place.root_of(self.target)

    @property
    def store(self) -> Path:
        """What becomes the target."""
        return self.root / place.STORE

    @property
    def work(self) -> Path:
        """Records of finished shards."""
        return self.root / place.WORK

    def record(self, number: int, finished: Finished, rows_N: np.ndarray) -> None:
        """Record a finished shard. Nothing is synced: what a power cut takes or spoils is packed again."""
        (buffer := io.BytesIO()).write(fmt.dump_document(finished))
        np.save(buffer, rows_N, allow_pickle=False)
        content = buffer.getvalue()
        path = self.work / f"{number}.record"
        temporary = temporary_name(path)
        with temporary.open("xb") as file:
            file.write(xxhash.xxh3_128_digest(content) + content)
        temporary.replace(path)

    def recorded(self, number: int) -> tuple[Finished, np.ndarray] | None:
        """Return the record of a shard and what was learned of its pixels (`format.ROW`), or None where none is sound.

        It speaks for the shard that was written, not for what has become of the file; `finished` looks at that too.
        """
        path = self.work / f"{number}.record"
        try:
            content = read_regular(path, bytes_max=_RECORD_BYTES_MAX, follow=False)
            if content[:16] != xxhash.xxh3_128_digest(content[16:]):
                return None
            document, _, table = content[16:].partition(b"}\n")
            finished = fmt.parse_document(document + b"}\n", Finished, path)
            rows_N: np.ndarray = np.load(io.BytesIO(table), allow_pickle=False)
        except (OSError, UsageError, ValueError, EOFError):
            return None
        return (finished, rows_N) if rows_N.dtype == fmt.ROW and rows_N.shape == (finished.rows,) else None

    def finished(self, number: int) -> tuple[Finished, np.ndarray] | None:
        """Return what `recorded` does, for a shard whose file has the hash that was recorded; else None."""
        result = self.recorded(number)
        return result if result and has_hash(self.store / fmt.shard_name(number), result[0].hash) else None

    def check_room(self, num_bytes: int) -> None:
        """See that there is room for so much more.

        Raises:
            UsageError: There is not.
        """
        free = shutil.disk_usage(self.root).free
        if num_bytes > free:
            problem = f"found {free / 1e6:.0f} MB free, wanted {num_bytes / 1e6:.0f} MB"
            raise UsageError(self.target, problem, "make room, or choose another -o")

    def commit(self, replaces: place.Identity | None = None) -> None:
        """Give the store its name, in one step. Everything in it is on disk already.

        Args:
            replaces: The store that is there and makes way; None where the name is free.

        Raises:
            FastpathError: The target is not what it was; what was built is kept.
        """
        sync_directory(self.store)
        try:
            place.check_unchanged(self.target, replaces, overwrite=replaces is not None)
            if replaces is None:
                self.store.rename(self.target)
            else:  # the file tells a later run which of the two stores is which, and so whether this was done
                write_durably(self.root / place.COMMIT, _manifest_hash(self.store).encode("ascii"))
                exchange(self.store, self.target)
        except UsageError as error:
            raise FastpathError(error.location, error.problem, error.remedy) from None
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise FastpathError(self.target, "found something there now, wanted a free name", "move it away") from None
        sync_directory(self.target.parent)
        place.clear(self.target)


def has_hash(path: Path, wanted: str) -> bool:
    """Whether there is a regular file of this xxh3-128."""
    try:
        return not path.is_symlink() and path.is_file() and fmt.hash_file(path) == wanted
    except OSError:
        return False


@contextmanager
def stage(
    target: Path,
    plan: str,
    num_shards: int,
    *,
    replaces: place.Identity | None = None,
    resume: bool = False,
    again: str = "run the same command again",
) -> Iterator[Staging]:
    """Hold the staging directory of a target, continuing what an earlier run of the same plan finished.

    Args:
        target: The store to be.
        plan: Fingerprint of everything that decides the store's bytes.
        num_shards: Shards it will have.
        replaces: What `place.vacancy` found at the target.
        resume: Refuse an unfinished pack of another plan, where else it would be started over; and keep what is
            finished even where the input turns out to be wrong.
        again: What to do once there is room, told where a disk is full.

    Raises:
        UsageError: The place cannot be written, another process builds there or has written the target, the staging
            directory is not fastpath's, or the plans differ.
    """
    staging = Staging(target)
    try:
        lock = place.hold(target)
    except OSError as error:
        raise as_failure(target, error) from None
    result = _plan_of(staging)
    ours = not result  # nothing is there but what this run makes
    try:
        place.check_unchanged(target, replaces, overwrite=replaces is not None)
        ours = _prepare(staging, plan, result, num_shards, resume=resume) or ours
        yield staging
    except (FastpathError, OSError) as error:
        # Wrong input leaves nothing behind; a kill, Ctrl-C and a full disk keep what is finished, if anything is.
        wrong = isinstance(error, UsageError | IntegrityError) and not resume
        if ours and (wrong or not any(staging.store.glob("shard-*.npy"))):
            place.clear(target)
        if isinstance(error, FastpathError):
            raise
        raise as_failure(Path(error.filename or target), error, remedy=f"make room, then {again}") from None
    finally:
        os.close(lock)


def settle(target: Path) -> None:
    """Finish what an earlier run left undone when it was killed as its store got its name, or take it back."""
    lock = place.hold_if_there(target)
    if lock is None:
        return
    try:
        with suppress(OSError):  # of a place that cannot be written, staging tells
            _settle(Staging(target))
    finally:
        os.close(lock)


def _settle(staging: Staging) -> None:
    place.end_exchange(staging.target)
    commit = staging.root / place.COMMIT
    if not commit.exists():
        done = staging.target.exists() and not staging.store.exists()
    else:
        done = commit.read_text(encoding="ascii", errors="replace") != _manifest_hash(staging.store)
    if done:  # what is left is the store that made way, or nothing
        place.clear(staging.target)
    else:
        commit.unlink(missing_ok=True)


def _manifest_hash(store: Path) -> str:
    path = store / fmt.MANIFEST
    return fmt.hash_file(path) if path.exists() else ""


def _plan_of(staging: Staging) -> str:
    path = staging.root / place.PLAN
    return path.read_text(encoding="ascii", errors="replace") if path.exists() else ""


def _prepare(staging: Staging, plan: str, text: str, num_shards: int, *, resume: bool) -> bool:
    """Make the staging directory hold this plan, its finished shards and nothing else.

    Returns:
        Whether it was started over.
    """
    over = bool(text) and text != plan
    if over and resume:
        problem = "found an unfinished pack of another source or other options, wanted this one"
        raise UsageError(staging.root, problem, "leave --resume out to start over")
    numbers = range(num_shards if text == plan else 0)
    kept = {fmt.shard_name(number) for number in numbers} | {f"{number}.record" for number in numbers}
    for folder in (staging.store, staging.work):
        folder.mkdir(exist_ok=True)
        place.remove_files(folder, lambda name: name not in kept)
    if text != plan:
        write_durably(staging.root / place.PLAN, plan.encode("ascii"))
    return over
