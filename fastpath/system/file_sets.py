"""Files that belong together and are put in place together."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from fastpath.system.files import as_failure, clear_temporaries, sync_directory, temporary_name

_LOGGER = logging.getLogger(__name__)


class FileSet:
    """Files that belong together and are put in place together; a context manager whose end does so.

    All are written whole, and synced, in a directory of their own within `output`. Then the closing file goes first,
    after it what is left of an older set, then the new files take their places, the closing file last: whoever finds
    that one finds a whole set. An error before leaves the old set as it was.

    Args:
        output: The directory; made where it is missing.
        closing: The file by whose presence a set is known to be whole, by its path within the directory. It has to be
            written.
        owned: Patterns (`fnmatch`, relative, with `/`) of all that may belong to a set: what is there and not written
            anew is removed, so name nothing that could be another's.
    """

    def __init__(self, output: Path, closing: str, owned: Sequence[str] = ()) -> None:
        self.output, self.closing, self.owned = output, closing, tuple(owned)
        self._names: list[str] = []

    def __enter__(self) -> FileSet:
        try:
            (self.output / self.closing).parent.mkdir(parents=True, exist_ok=True)
            clear_temporaries(self.output / self.closing)
            self._lock = -1
            while self._lock < 0 or not os.fstat(self._lock).st_nlink:  # cleared away before it was locked
                self._place = temporary_name(self.output / self.closing)
                self._place.mkdir()
                self._lock = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                with suppress(OSError):
                    fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise as_failure(self.output, error) from error
        return self

    def write(self, name: str, content: bytes) -> None:
        """Add a file.

        Args:
            name: Its path within the directory.
            content: Its bytes.

        Raises:
            FastpathError: It cannot be written.
        """
        with self.open(name) as file:
            file.write(content)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file of the set to be written to, for what is made piece by piece."""
        try:
            path = self._place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise as_failure(self.output / name, error) from error
        self._names.append(name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        except OSError as failure:
            raise as_failure(self.output, failure) from failure
        finally:
            shutil.rmtree(self._place, ignore_errors=True)
            os.close(self._lock)

    def _commit(self) -> None:
        """Put the new set in the old one's place."""
        assert self.closing in self._names, f"{self.closing} was not written"
        closing = self.output / self.closing
        closing.unlink(missing_ok=True)
        sync_directory(closing.parent)
        for path in self._old():
            path.unlink()
        for name in sorted(self._names, key=lambda name: name == self.closing):
            target = self.output / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name == self.closing:
                for folder in {(self.output / each).parent for each in self._names}:
                    sync_directory(folder)
            (self._place / name).replace(target)
        sync_directory(closing.parent)
        _LOGGER.debug("%s", f"wrote {', '.join(self._names)} into {self.output}")

    def _old(self) -> list[Path]:
        """Return the files of an older set that the new one does not hold."""
        new = set(self._names)
        paths = [path for pattern in self.owned for path in self.output.glob(pattern)]
        return [path for path in paths if path.relative_to(self.output).as_posix() not in new and not path.is_dir()]
