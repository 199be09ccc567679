"""Symbolic links in a source: followed within the source, and within folders that the user names; nowhere else."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from fastpath.errors import DataError
from fastpath.text import visible

OPTION = "--follow-symlinks"


class Links:
    """Where links may lead.

    Args:
        source: The source; what its links lead to within it needs no leave.
        roots: Folders outside it that links may lead into.

    Raises:
        DataError: A root is not a folder.
    """

    def __init__(self, source: Path, roots: Sequence[Path] = ()) -> None:
        for root in roots:
            if not root.is_dir():
                raise DataError(OPTION, f"found no folder {root}", "give the folder that links lead into")
        # Once for all links into a folder: a lab's storage is one folder of 200,000 targets.
        self._real_folder = functools.cache(functools.partial(os.path.realpath, strict=True))
        self._roots = [f"{os.path.realpath(root).rstrip(os.sep)}{os.sep}" for root in (source, *roots)]

    def check_file(self, path: str) -> None:
        """Refuse a link unless it leads to a regular file where links may lead.

        Raises:
            DataError: It does not, or it leads nowhere, or round in a circle.
        """
        target, mode = self._target(path)
        if not stat.S_ISREG(mode):
            raise DataError(visible(path), f"is a symbolic link to no file, to {visible(target)}", "remove the link")

    def check_folder(self, path: Path) -> None:
        """Refuse a folder that is a link unless it leads where links may lead; what is no link is fine."""
        if path.is_symlink():
            self._target(str(path))

    def _target(self, path: str) -> tuple[str, int]:
        """Return where a link leads and what is there."""
        try:
            # By hand: Path objects would cost more than the calls.
            step = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115, PTH118, PTH120
            place, name = os.path.split(step)
            target = os.path.join(self._real_folder(place), name)  # noqa: PTH118
            status = os.lstat(target)
            if name in ("", ".", "..") or stat.S_ISLNK(status.st_mode):
                target = os.path.realpath(target, strict=True)
                status = os.lstat(target)
        except OSError as error:
            location = "in a circle" if error.errno == errno.ELOOP else f"to nothing ({error.strerror})"
            remedy = "remove the link, or restore its target"
            raise DataError(visible(path), f"is a symbolic link {location}", remedy) from None
        if not f"{target}{os.sep}".startswith(tuple(self._roots)):
            problem = f"is a symbolic link out of its folder, to {visible(target)}; wanted a file"
            remedy = f"copy the file in place of the link, or give {OPTION} a folder that holds its target"
            raise DataError(visible(path), problem, remedy)
        return target, status.st_mode
