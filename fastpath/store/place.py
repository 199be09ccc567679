"""The place of a store to be, and the directory beside it that one is built in: whose they are, and what is in them.

Nothing is touched that does not carry fastpath's mark, and nothing is removed whose name fastpath does not give.
Whoever holds the lock of the staging directory may write in it and give the target its name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from fastpath.errors import UsageError
from fastpath.store import format as fmt
from fastpath.urls import behind_url

LOCK_PATIENCE_S = 5.0  # workers of a killed run die within moments and take its lock with them
SUFFIX = ".fastpath-partial"
MARK, PLAN, COMMIT, STORE, WORK = "FASTPATH", "plan", "commit", "store", "work"
_MARK_TEXT = b"fastpath builds a store here, and removes this directory when the store has its name.\n"

_FILE = r"(shard-\d{5,}\.npy|index\.parquet|split\.json|manifest\.json)"
# What a killed writer leaves beside a file, be it of this version or of an earlier one.
_TEMPORARY = r"(\.{0}\.\w+\.tmp|{0}(\.\d+)?\.tmp|{0}\.rebuilt(\.\d+\.tmp)?)"
_OF_STORE = re.compile(rf"{_FILE}|{_TEMPORARY.format(_FILE)}")
_OF_WORK = re.compile(r"\d+\.record|\.\d+\.record\.\w+\.tmp|rows\.tmp")
_ASIDE = re.compile(rf"\.{STORE}\.[0-9a-f]+\.tmp")  # a directory, of an exchange that was not at once
_OF_ROOT = re.compile(rf"{MARK}|{PLAN}|{COMMIT}|\.({MARK}|{PLAN}|{COMMIT})\.\w+\.tmp")

Identity = tuple[int, ...]
"""Device and inode of a store's directory, inode and time of its manifest, which nothing changes: a number that is
free may be given to the next directory at once."""


def root_of(target: Path) -> Path:
    """Return the directory beside a target that holds everything unfinished."""
    return target.parent / (target.name + SUFFIX)


def check_apart(target: Path, inputs: Iterable[Path]) -> None:
    """Refuse a target that is an input, lies within one or holds one, whatever links lead there.

    Args:
        target: What is to be written.
        inputs: What is read: files, directories and URLs, there or not.

    Raises:
        UsageError: Naming the input.
    """
    end, root = target.resolve(), root_of(target).resolve()
    for given in inputs:
        if behind_url(given) is not None:
            continue
        path = given.resolve()
        if path in (end, *end.parents):
            raise UsageError(target, f"lies within the source {given}", "choose an -o outside it")
        for place in (end, root):
            if place in (path, *path.parents):
                problem = f"the source {given} lies within {place}, which is written and removed"
                raise UsageError(target, problem, "choose another -o")


def vacancy(target: Path, *, overwrite: bool) -> Identity | None:
    """See that a target is free, or a store that may be replaced.

    Args:
        target: The store to be.
        overwrite: Whether a store that is there is to be replaced. One that holds anything else too is not.

    Returns:
        Which store is to be replaced; None where the name is free or an empty directory's.

    Raises:
        UsageError: It is neither; naming what was found.
    """
    try:
        status = target.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise UsageError(target, "is a symbolic link, wanted a free name", "give the directory that it leads to")
        empty = stat.S_ISDIR(status.st_mode) and not any(target.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(target, f"cannot be read ({error.strerror})", "choose another place for -o") from None
    if empty:
        return None
    if not stat.S_ISDIR(status.st_mode) or not _is_store(target):
        raise UsageError(target, "found other files there, wanted a free name", "choose another -o")
    if not overwrite:
        raise UsageError(target, "found a store there, wanted a free name", "use --overwrite, or another -o")
    strange = _strange(target, _OF_STORE)
    if strange:
        problem = f"found '{strange}' in the store there, which is no part of it and would be lost"
        raise UsageError(target, problem, "move it away, or choose another -o")
    manifest = (target / fmt.MANIFEST).lstat()
    return status.st_dev, status.st_ino, manifest.st_ino, manifest.st_mtime_ns


def check_unchanged(target: Path, replaces: Identity | None, *, overwrite: bool) -> None:
    """See, under the lock, that a target is still what `vacancy` found.

    Raises:
        UsageError: Another process has written it meanwhile.
    """
    if vacancy(target, overwrite=overwrite) != replaces:
        problem = "another process wrote or removed it meanwhile"
        raise UsageError(target, problem, "see what is there, then run the same command again")


def hold(target: Path) -> int:
    """Make the staging directory of a target, lock it and prove that all of it is fastpath's.

    Returns:
        A descriptor that holds the lock until it is closed; it goes with the process, however that ends.

    Raises:
        UsageError: Another process builds there, or the directory or something in it is not fastpath's.
        OSError: It cannot be made.
    """
    root, deadline = root_of(target), time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise _foreign(root, "") from None
        descriptor = _try_lock(root)
        if descriptor is not None:
            try:
                _prove(root)
                _mark(target)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor
        if time.monotonic() > deadline:
            problem = "is being packed by another process"
            raise UsageError(target, problem, "wait for it, or choose another target")
        time.sleep(0.05)


def hold_if_there(target: Path) -> int | None:
    """Lock the staging directory that an earlier run left; None where there is none, or it is in use or not ours."""
    descriptor = None
    try:
        descriptor = _try_lock(root_of(target))
        if descriptor is not None:
            _prove(root_of(target))
    except (OSError, UsageError):  # whoever stages there is told
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def end_exchange(target: Path) -> None:
    """Put back what a file system without an exchange at once had put aside when the process died in between."""
    root = root_of(target)
    for aside in root.glob(f".{STORE}.*.tmp"):
        if not (root / STORE).exists():
            aside.rename(root / STORE)
        elif not target.exists():  # where the store that made way has left it
            aside.rename(target)


def clear(target: Path) -> None:
    """Remove a held staging directory: what fastpath put into it, and the rest of it if that leaves it empty.

    What is left of it when the process dies on the way is still marked, and tells a store half removed by its lacking
    manifest.
    """
    root = root_of(target)
    with contextlib.suppress(OSError):  # what cannot be removed is in nobody's way
        (root / STORE / fmt.MANIFEST).unlink(missing_ok=True)
        for folder, known in ((root / STORE, _OF_STORE), (root / WORK, _OF_WORK)):
            if folder.is_dir():
                remove_files(folder, lambda name, known=known: bool(known.fullmatch(name)))  # type: ignore[misc]
                folder.rmdir()
        remove_files(root, lambda name: name != MARK)
        (root / MARK).unlink(missing_ok=True)
        root.rmdir()


def remove_files(folder: Path, unwanted: Callable[[str], bool]) -> None:
    """Remove the files of a directory whose names say so."""
    for path in list(folder.iterdir()):
        if unwanted(path.name):
            path.unlink()


def _try_lock(root: Path) -> int | None:
    """Lock a directory; None where another process holds it, or removed it as this one came."""
    descriptor = -1
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), root.lstat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise _foreign(root, "") from None
    if descriptor >= 0:
        os.close(descriptor)
    return None


def _prove(root: Path) -> None:
    """Refuse a directory without the mark, or with anything in it that fastpath does not put there."""
    names = [path.name for path in root.iterdir()]
    if not names:
        return  # made by a run that was killed before it could mark it, or by this one
    mark = _beginning(root / MARK, len(_MARK_TEXT) + 1)
    if mark is None or not _MARK_TEXT.startswith(mark):  # a kill may have cut it
        raise _foreign(root, "")
    folders = {name for name in names if name in (STORE, WORK) or _ASIDE.fullmatch(name)}
    strange = _strange(root, _OF_ROOT, but=folders)
    for name in folders:
        isolated = stat.S_ISDIR((root / name).lstat().st_mode)
        strange = strange or ("" if isolated else name)
        strange = strange or _strange(root / name, _OF_WORK if name == WORK else _OF_STORE)
    if strange:
        raise _foreign(root, strange)


def _mark(target: Path) -> None:
    """Put the mark into a directory that is proven to be fastpath's, and thus empty where the mark is missing."""
    try:
        with contextlib.suppress(FileExistsError), (root_of(target) / MARK).open("xb") as file:
            file.write(_MARK_TEXT)
    except OSError:  # a full disk is left as it was
        clear(target)
        raise


def _strange(folder: Path, known: re.Pattern[str], but: Container[str] = ()) -> str:
    """Return the first entry of a directory that is not a regular file of a known name, or nothing."""

    def usual(entry: os.DirEntry[str]) -> bool:
        return entry.name in but or bool(known.fullmatch(entry.name) and entry.is_file(follow_symlinks=False))

    with os.scandir(folder) as entries:
        return min((entry.name for entry in entries if not usual(entry)), default="")


def _is_store(path: Path) -> bool:
    """Whether a directory holds a store's manifest, be it damaged."""
    return b'"fastpath-store"' in (_beginning(path / fmt.MANIFEST, 256) or b"")


def _beginning(path: Path, num_bytes: int) -> bytes | None:
    """Return the first bytes of a regular file; None where it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(descriptor, num_bytes) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


def _foreign(root: Path, name: str) -> UsageError:
    problem = f"found '{name}' in it, which fastpath did not put there" if name else "is not a directory of fastpath's"
    return UsageError(root, problem, "move it away, or choose another -o")
