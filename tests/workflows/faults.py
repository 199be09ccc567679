"""What file systems refuse, made to happen below one directory: full disks, quotas, read-only mounts, permissions.

Tests load it by path: it is no test, and their folder is no package.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Fault = Callable[[Path, pytest.MonkeyPatch], Any]  # a context manager, made of the directory that it is to hit

_WRITING = os.O_CREAT | os.O_WRONLY | os.O_RDWR


class _Full:
    """A file that takes so many bytes."""

    def __init__(self, file: Any, code: int, room: int) -> None:
        self._file, self._code, self._room = file, code, room

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        if size > self._room:
            self._file.write(memoryview(content).cast("B")[: self._room])
            raise OSError(self._code, os.strerror(self._code))
        self._room -= size
        return int(self._file.write(content))

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def full(code: int, room: int = 0) -> Fault:
    """Let every file that is opened for writing from now on take `room` bytes."""

    @contextmanager
    def fault(below: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        plain_open, plain_fdopen = io.open, os.fdopen

        def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            opened_file = plain_open(file, mode, *rest, **named)
            writes = set(mode) & set("wxa+") and _is_below(file, below)
            return _Full(opened_file, code, room) if writes else opened_file

        def fdopened(descriptor: int, mode: str = "r", *rest: Any, **named: Any) -> Any:
            place = Path(f"/proc/self/fd/{descriptor}").readlink()
            opened_file = plain_fdopen(descriptor, mode, *rest, **named)
            writes = set(mode) & set("wxa+") and _is_below(place, below)
            return _Full(opened_file, code, room) if writes else opened_file

        with monkeypatch.context() as patch:
            patch.setattr(io, "open", opened)
            patch.setattr(os, "fdopen", fdopened)
            yield

    return fault


def unsynced(code: int) -> Fault:
    """Let nothing be seen onto the disk: a file system that finds out late, as NFS does."""

    @contextmanager
    def fault(_below: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def fsync(_descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            yield

    return fault


def refused(code: int) -> Fault:
    """Let nothing be made, changed or removed."""

    @contextmanager
    def fault(below: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def refuse(place: object) -> None:
            if _is_below(place, below):
                raise OSError(code, os.strerror(code), os.fspath(place))  # type: ignore[call-overload]

        plain_open, plain_os_open = io.open, os.open

        def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if set(mode) & set("wxa+"):
                refuse(file)
            return plain_open(file, mode, *rest, **named)

        def os_opened(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            if flags & _WRITING:
                refuse(path)
            return plain_os_open(path, flags, *rest, **named)

        with monkeypatch.context() as patch:
            patch.setattr(io, "open", opened)
            patch.setattr(os, "open", os_opened)
            for name in ("mkdir", "rename", "replace", "unlink", "link", "rmdir"):
                patch.setattr(os, name, _after(refuse, getattr(os, name)))
            yield

    return fault


def _after(look: Callable[[object], None], plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *rest: Any, **named: Any) -> Any:
        look(path)
        return plain(path, *rest, **named)

    return call


@contextmanager
def small_files(_below: Path, _monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no file grow beyond 64 bytes: `ulimit -f`, by the kernel itself."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def forbidden(below: Path, _monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the right to write to the directory away, by the kernel itself, from root too."""
    place = next(each for each in (below, *below.parents) if each.exists())
    mode = place.stat().st_mode
    place.chmod(0o555)
    try:
        with _bound_by_modes():
            yield
    finally:
        place.chmod(mode)


@contextmanager
def _bound_by_modes() -> Iterator[None]:
    """Do without CAP_DAC_OVERRIDE in this thread (capset(2), version 3), so that root is anybody."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of the effective set
    assert libc.capset(header, without) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


def _is_below(place: object, below: Path) -> bool:
    if not isinstance(place, str | os.PathLike):
        return False
    path = Path(os.fspath(place)).absolute()
    return below == path or below in path.parents


FULL: dict[str, tuple[Fault, int]] = {
    "ENOSPC at the first byte": (full(errno.ENOSPC), errno.ENOSPC),
    "EDQUOT within a file": (full(errno.EDQUOT, 40), errno.EDQUOT),
    "ENOSPC at fsync": (unsynced(errno.ENOSPC), errno.ENOSPC),
    "ulimit -f": (small_files, errno.EFBIG),
}
READ_ONLY: dict[str, tuple[Fault, int]] = {
    "EROFS": (refused(errno.EROFS), errno.EROFS),
    "EROFS while writing": (full(errno.EROFS), errno.EROFS),
}
NO_PERMISSION: dict[str, tuple[Fault, int]] = {
    "EACCES": (refused(errno.EACCES), errno.EACCES),
    "mode 0555": (forbidden, errno.EACCES),
}
