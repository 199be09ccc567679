"""Counts what a process does to files below a folder, and kills it at one of these operations.

An operation is a call that changes a file system: opening to write, writing, syncing, renaming, linking, removing,
making a directory. Python's own ways to all of them are seen, and `fastpath.system.files.exchange`; what a library's C
code does by itself lies between two of them.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_OF_PATHS = ("rename", "replace", "link", "symlink", "unlink", "remove", "mkdir", "rmdir", "truncate")
_OF_FILES = ("write", "writev", "ftruncate", "sendfile", "copy_file_range", "posix_fallocate")
_SYNCS = ("fsync", "fdatasync")  # counted and not done: what the kernel was given outlives the process anyway
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Points:
    """Operations below a folder, in the order they are done; one of them may be this process's last.

    Args:
        folder: Whose files count.
        last: Number of the operation to die at, from 0; None does not die.
        when: `before` it is done, `after` it, or `within`: of what is written, half is there.

    Attributes:
        names: What was done so far.
    """

    def __init__(self, folder: Path, last: int | None = None, when: str = "after") -> None:
        self.names: list[str] = []
        self._folder, self._last, self._when = os.path.realpath(folder), last, when
        self._open, self._lock = io.open, threading.Lock()

    @contextmanager
    def at(self, name: str) -> Iterator[bool]:
        """Count an operation; yields whether it is to be cut short and to be the last."""
        with self._lock:
            ours = len(self.names) == self._last
            self.names.append(name)
        if ours and self._when == "before":
            die()
        yield ours and self._when == "within"
        if ours:
            die()

    def within(self, place: Any, folder: int | None = None) -> bool:
        """Whether a path or a descriptor is of the folder."""
        if isinstance(place, int):
            path = str(Path(f"/proc/self/fd/{place}").readlink())
        else:
            start = Path.cwd() if folder is None else Path(f"/proc/self/fd/{folder}").readlink()
            path = os.path.realpath((start / os.fsdecode(place)).parent) + "/"
        return path.startswith(self._folder + "/")

    def install(self) -> None:
        """Have every operation of this process counted, from here on."""
        for name in _OF_PATHS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        for name in _OF_FILES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        for name in _SYNCS:
            setattr(os, name, self._counted(name, lambda _: None))
        usual = os.open

        def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if not flags & _WRITING or not self.within(path, dir_fd):
                return usual(path, flags, mode, dir_fd=dir_fd)
            with self.at("open"):
                return usual(path, flags, mode, dir_fd=dir_fd)

        os.open = opened
        io.open = builtins.open = self._opened  # type: ignore[assignment]
        self._see_exchange()

    def _counted(self, name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            folder = next((named[key] for key in ("dir_fd", "src_dir_fd") if named.get(key) is not None), None)
            if not self.within(given[1] if name in ("link", "symlink") else given[0], folder):
                return usual(*given, **named)
            with self.at(name):
                return usual(*given, **named)

        return call

    def _opened(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Callable[..., int] | None = None,
    ) -> Any:
        """Open like `open`; where it is to write below the folder, each write of the raw file is counted."""
        if not set(mode) & set("wax+") or not self.within(file):
            return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        kind = mode.replace("b", "").replace("t", "")
        if isinstance(file, int):
            raw = _Raw(self, file, kind, closefd, opener)
        else:
            with self.at("open"):
                raw = _Raw(self, file, kind, closefd, opener)
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    def _see_exchange(self) -> None:
        from fastpath.system import files

        exchange = ctypes.CDLL(None, use_errno=True).renameat2

        def swap(*given: Any) -> int:
            with self.at("exchange"):
                return int(exchange(*given))

        libc = SimpleNamespace(renameat2=swap)
        files.ctypes = SimpleNamespace(CDLL=lambda *_, **__: libc, get_errno=ctypes.get_errno)  # type: ignore


class _Raw(io.FileIO):
    """A raw file whose writes count."""

    def __init__(self, points: Points, *given: Any) -> None:
        super().__init__(*given)
        self._points = points

    def write(self, content: Any) -> int:
        with self._points.at("write") as cut:
            view = memoryview(content).cast("B")
            return super().write(view[: len(view) // 2] if cut else view)

    def truncate(self, size: int | None = None) -> int:
        with self._points.at("truncate"):
            return super().truncate(size)


def die() -> None:
    """End this process as a power cut would end it, but for what the kernel has been given."""
    os.kill(os.getpid(), signal.SIGKILL)
