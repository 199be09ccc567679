"""The shards of a store, opened as they are needed and read in a way that no change of the files can turn into a crash.

Patches are read with pread(2) and not from a memory map: what another process cuts off, or a disk cannot read, is then
an error and not the signal SIGBUS, which would end the process without a word; and a patch that is not in memory costs
one request and not a page fault or more. A copy out of a map would be faster by one system call a patch.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fastpath.errors import IntegrityError, StoreError
from fastpath.store import format as fmt
from fastpath.store.remote import Remote
from fastpath.system.files import open_regular

LOOK_S = 0.25  # between two looks at whether files have changed: under a microsecond for each that is open
RESERVED = 256  # descriptors left to all else that the process does
OPEN_MIN = 8


class _Shard:
    """An open shard. It is closed when nobody reads it any more, whoever let go of it first."""

    __slots__ = ("descriptor",)

    def __init__(self, path: Path) -> None:
        with open_regular(path, follow=False, kind=StoreError) as file:
            self.descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class OpenShards:
    """Reads patches out of the shards of a store. Safe to use from several threads.

    Args:
        path: The store's directory.
        manifest: What it says of itself.
        remote: Where shards are fetched from before they are opened; None for a store on disk.
        watched: The manifest's stamp, where the store is replaced when that file is; None where it is not.
    """

    def __init__(
        self, path: Path, manifest: fmt.Manifest, remote: Remote | None = None, watched: fmt.Stamp | None = None
    ) -> None:
        self._path, self._manifest, self._remote, self._watched = path, manifest, remote, watched
        self._patch_bytes = int(np.prod(manifest.patch_shape))
        self._open: dict[int, _Shard] = {}
        self._stamps: dict[int, fmt.Stamp] = {}
        self._lock, self._next_look_s = threading.Lock(), time.monotonic() + LOOK_S
        _raise_limit(len(manifest.shards))
        _living.add(self)

    def block(self, number: int, row: int, out: np.ndarray) -> None:
        """Read rows of a shard from `row` on, as many as `out` holds: uint8, C-contiguous. Raises as `patches`."""
        for _ in self.patches([number], [row], [out]):
            pass

    def patches(self, numbers: Iterable[int], rows: Iterable[int], outs: Iterable[np.ndarray]) -> Iterator[None]:
        """Read patches one by one, pausing after each: a call a patch would cost as much as the reading.

        Args:
            numbers: The shard of each.
            rows: The row of each within its shard.
            outs: Where to write each, uint8, C-contiguous.

        Raises:
            StoreError: A shard is missing, or not of the size and shape that the manifest gives.
            IntegrityError: The store has changed since it was opened, or a shard cannot be read.
        """
        self._look()
        find, read, first, size = self._open.get, os.preadv, fmt.HEADER_BYTES, self._patch_bytes
        number = 0
        try:
            for number, row, out in zip(numbers, rows, outs, strict=False):
                shard = find(number) or self._opened(number)
                if read(shard.descriptor, (out,), first + row * size) != out.nbytes:  # type: ignore[arg-type]
                    raise self._changed(number)
                yield
        except OSError as error:
            raise self._changed(number, f"cannot be read ({error.strerror})", "check the disk") from None

    def _look(self) -> None:
        """See from time to time whether any file that is open has changed.

        Raises:
            IntegrityError: One has.
        """
        now = time.monotonic()
        if now < self._next_look_s:
            return
        with self._lock:
            self._next_look_s = now + LOOK_S
            opened = list(self._open.items())
        for number, shard in opened:
            if fmt.stamp_of(os.fstat(shard.descriptor)) != self._stamps[number]:
                raise self._changed(number)
        self._check_manifest()

    def _opened(self, number: int) -> _Shard:
        """Open a shard, and close the one opened first if there are as many as there may be."""
        if self._remote is not None and number not in self._stamps:
            self._remote.fetch_shard(number)
        with self._lock:
            shard = self._open.get(number)
            if shard is not None:
                return shard
            while len(self._open) >= _allowed():
                self._open.pop(next(iter(self._open)))
            shard = self._descriptor(self._path / fmt.shard_name(number))
            self._check_header(shard, number)
            stamp = fmt.stamp_of(os.fstat(shard.descriptor))
            if self._stamps.setdefault(number, stamp) != stamp:
                raise self._changed(number)
            self._check_manifest()
            self._open[number] = shard
        return shard

    def _descriptor(self, path: Path) -> _Shard:
        try:
            return _Shard(path)
        except (OSError, StoreError) as error:
            if self._open and _exhausted(error):
                self._open.clear()  # somebody else needs more than was thought
                return _Shard(path)
            problem = error.problem if isinstance(error, StoreError) else f"cannot be read ({error.strerror})"
            raise StoreError(path, problem, "run 'fastpath verify'") from None

    def _check_header(self, shard: _Shard, number: int) -> None:
        """Check a shard's size and header. It is known in advance, so none is parsed: numpy's parser trips over damage.

        Raises:
            StoreError: It is another one.
        """
        path = self._path / fmt.shard_name(number)
        shape = (self._manifest.shards[number].rows, *self._manifest.patch_shape)
        header, wanted_bytes = fmt.npy_header(shape), self._manifest.shard_bytes(number)
        found_bytes = os.fstat(shard.descriptor).st_size
        try:
            result = os.pread(shard.descriptor, len(header), 0)
        except OSError as error:
            raise StoreError(path, f"cannot be read ({error.strerror})", "run 'fastpath verify'") from None
        if result != header or found_bytes != wanted_bytes:
            problem = f"found {found_bytes} bytes, wanted {wanted_bytes} that begin with the header of {shape}"
            raise StoreError(path, problem, "run 'fastpath verify'")

    def _check_manifest(self) -> None:
        """Check that the store in this place is still the one that was opened."""
        if self._watched is None:
            return
        path = self._path / fmt.MANIFEST
        try:
            result = fmt.stamp_of(path.stat(follow_symlinks=False))
        except OSError as error:
            raise IntegrityError(path, f"has gone while the store was read ({error.strerror})", _REMEDY) from None
        if result != self._watched:
            raise IntegrityError(path, "has changed while the store was read", _REMEDY)

    def _changed(
        self, number: int, problem: str = "has changed while the store was read", remedy: str = ""
    ) -> IntegrityError:
        return IntegrityError(self._path / fmt.shard_name(number), problem, remedy or _REMEDY)


_REMEDY = "run 'fastpath verify' on the store, and leave it alone while it is read"
_living: weakref.WeakSet[OpenShards] = weakref.WeakSet()


def _exhausted(error: BaseException | None) -> bool:
    """Return whether an error is, or comes of, the lack of descriptors."""
    if isinstance(error, OSError):
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return error is not None and _exhausted(error.__cause__)


def _allowed() -> int:
    """Return how many shards each open store may hold open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return fmt.SHARDS_MAX
    return max(OPEN_MIN, (soft - RESERVED) // max(1, len(_living)))


def _raise_limit(num_shards: int) -> None:
    """Ask for as many descriptors as there may be shards; where the system grants fewer, shards take turns."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sum(len(shards._manifest.shards) for shards in _living) + num_shards + RESERVED
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, granted), hard))
    except (OSError, ValueError):
        return
