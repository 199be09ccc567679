"""Files that an accident cannot halve and a stranger cannot turn into something else.

Writing: a temporary name of its own, fsync, rename (`file_sets`: several files that belong together, as a set).
Reading: regular files only, their size looked at first. Whatever the file system refuses becomes one line.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import fnmatch
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fastpath.errors import FastpathError, UsageError

_LOGGER = logging.getLogger(__name__)
_STEM_CHARACTERS = 40  # of a name that is kept in a temporary one: names of 255 bytes have to fit as well
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_HERE = -100  # AT_FDCWD of fcntl.h: relative paths are meant from the working directory

# errno: (what is wrong, what to do, whether the request was wrong rather than the machine)
_CAUSES = {
    errno.ENOSPC: ("no space is left on the disk", "make room, then run it again", False),
    errno.EDQUOT: ("the disk quota is used up", "make room or ask for a larger quota, then run it again", False),
    errno.EFBIG: ("the file would exceed the largest size allowed", "raise `ulimit -f`, or use another disk", False),
    errno.EIO: ("the disk reports an input/output error", "check the disk, then run it again", False),
    errno.EMFILE: ("too many files are open", "raise `ulimit -n`", False),
    errno.ENFILE: ("too many files are open on this machine", "close other programs, then run it again", False),
    errno.EROFS: ("the file system is read-only", "choose another place", True),
    errno.EACCES: ("permission is denied", "choose another place, or change its permissions", True),
    errno.EPERM: ("the operation is not permitted", "choose another place, or change its permissions", True),
    errno.ENOENT: ("it does not exist", "check the path", True),
    errno.ENOTDIR: ("a part of the path is not a directory", "check the path", True),
    errno.EISDIR: ("it is a directory", "give a file", True),
    errno.ENOTEMPTY: ("the directory is not empty", "choose another place", True),
    errno.EEXIST: ("something of that name exists", "choose another place", True),
    errno.ELOOP: ("it is a symbolic link, or a loop of them", "give the file itself", True),
    errno.ENXIO: ("it is a socket or a device", "give a regular file", True),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one", True),
    errno.EINVAL: ("the file system does not take such a name", "choose another one", True),
    errno.ETXTBSY: ("a running program is in the way", "choose another place", True),
    errno.EBUSY: ("it is in use", "choose another place", True),
    errno.ESTALE: ("the network share has lost it", "mount the share again, then run it again", False),
}


def as_failure(
    path: Path, error: OSError, doing: str = "cannot be written", remedy: str | None = None
) -> FastpathError:
    """Return what to say of an error of the file system: a `UsageError` where another path would help.

    Args:
        path: The file that was meant, not a temporary name of it.
        error: What the system reported.
        doing: What failed.
        remedy: What to do where it is the machine that fails, in place of the usual advice.
    """
    cause, advice, wrong = _CAUSES.get(error.errno or 0, (error.strerror or str(error), "check the place", False))
    if wrong:
        return UsageError(path, f"{doing}: {cause}", advice)
    return FastpathError(path, f"{doing}: {cause}", remedy or advice)


def sync_directory(path: Path) -> None:
    """Make renames within a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """Return a name beside a file that nobody can know beforehand, so that nothing can be planted under it."""
    return path.with_name(f".{path.name[:_STEM_CHARACTERS]}.{secrets.token_hex(8)}.tmp")


def clear_temporaries(path: Path) -> None:
    """Remove what killed writers of a file left under `temporary_name`s of it. Those of living writers are locked."""
    pattern = f".{_literal(path.name[:_STEM_CHARACTERS])}.{'[0-9a-f]' * 16}.tmp"
    with suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in [entry for entry in entries if fnmatch.fnmatchcase(entry.name, pattern)]:
            _remove_unlocked(Path(entry.path))


def _literal(name: str) -> str:
    """Return a pattern of `fnmatch` that matches a name alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _remove_unlocked(path: Path) -> None:
    """Remove a file or directory that no process holds a lock on. A writer that loses a race for it starts anew."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    with suppress(OSError):  # BlockingIOError: its writer lives
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path) if stat.S_ISDIR(os.fstat(descriptor).st_mode) else path.unlink()
    os.close(descriptor)


def _create(path: Path) -> tuple[Path, int]:
    """Create a temporary file for `path` and lock it, so that nobody clears it away."""
    while True:
        temporary = temporary_name(path)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves either the old one or the new one: temporary name, fsync, rename.

    Raises:
        FastpathError: It cannot be written; what the name held before is still there.
    """
    with durably(path) as file:
        file.write(content)


@contextmanager
def durably(path: Path, remedy: str | None = None) -> Iterator[BinaryIO]:
    """Open a file to be written to like `write_durably`: the block's end puts it in place, an error removes it.

    Args:
        path: The file. What killed writers of it left beside it is removed.
        remedy: What to do where the disk is full or fails, in place of the usual advice.

    Raises:
        FastpathError: It cannot be written; what the name held before is still there.
    """
    temporary = None
    try:
        clear_temporaries(path)
        temporary, descriptor = _create(path)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        sync_directory(path.parent)
        _LOGGER.debug("wrote %s", path)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)  # half a file would only keep a full disk full
        if isinstance(error, OSError) and _is_of(error, path):
            failure = as_failure(path, error, remedy=remedy)
            kept = ", and what it held before is kept" if path.is_file() else ""
            raise type(failure)(failure.location, failure.problem + kept, failure.remedy) from error
        raise


def _is_of(error: OSError, path: Path) -> bool:
    """Return whether an error is of a file or its temporary one: that of another file carries that file's name."""
    if error.filename is None:
        return True
    place = Path(os.fsdecode(error.filename))
    stem = f".{path.name[:_STEM_CHARACTERS]}."
    return place in (path, path.parent) or (place.parent == path.parent and place.name.startswith(stem))


def open_regular(path: Path, *, follow: bool, kind: type[FastpathError] = UsageError) -> BinaryIO:
    """Open a file for reading that is a regular one: never waits for a pipe, never reads a device.

    Args:
        path: The file.
        follow: Whether it may be a symbolic link: yes where a person names it, no within a store or a run.
        kind: The class of error to raise.

    Raises:
        FastpathError: Of class `kind`, where it is missing, unreadable or no regular file.
    """
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL within the path
        raise kind(repr(str(path)), f"cannot be read: {error}", "check the path") from None
    except OSError as error:
        failure = as_failure(path, error, "cannot be read")
        raise kind(failure.location, failure.problem, failure.remedy) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    names = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    raise kind(path, f"is {names.get(stat.S_IFMT(mode), 'a device')}, wanted a regular file", "give a regular file")


def read_regular(path: Path, *, bytes_max: int, follow: bool, kind: type[FastpathError] = UsageError) -> bytes:
    """Read a whole regular file of at most `bytes_max` bytes; see `open_regular`.

    Raises:
        FastpathError: Of class `kind`: also where the file is larger.
    """
    with open_regular(path, follow=follow, kind=kind) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(bytes_max + 1) if size <= bytes_max else b""
        except OSError as error:
            failure = as_failure(path, error, "cannot be read")
            raise kind(failure.location, failure.problem, failure.remedy) from error
    if max(size, len(content)) > bytes_max:
        raise kind(path, f"has {size:,} bytes, wanted at most {bytes_max:,}", "check that it is the right file")
    return content


def exchange(path: Path, other: Path) -> None:
    """Let two names of one file system swap what they name, at once: a crash leaves them as they were or swapped.

    Linux's renameat2(2) does it. A file system that cannot (NFS, some FUSE) takes three renames, between which a crash
    leaves what `path` named under a `temporary_name` of it.

    Raises:
        OSError: A name is missing, or a rename is refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    swap = getattr(libc, "renameat2", None)
    if swap is not None and swap(_HERE, os.fsencode(path), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    code = ctypes.get_errno() if swap is not None else errno.ENOSYS
    if code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), str(path), None, str(other))
    between = temporary_name(path)
    path.rename(between)
    other.rename(path)
    between.rename(other)
