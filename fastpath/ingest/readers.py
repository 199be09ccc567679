"""How each kind of source gets from a name to pixels, and how it is known that nothing changed meanwhile."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastpath.ingest.decode import decode_file

Read = Callable[[str, Counter[str]], np.ndarray]
"""From a name and a counter of notes to uint8 [H, W, 3]; raises DataError."""
Stamp = Callable[[str], str]
"""What the file system says of a name's file: differs when it was written again; empty where it is missing."""


def open_reader(reader: str, root: Path) -> tuple[Read, Stamp]:
    """Return the functions that read and that stamp the patches of a listing.

    Args:
        reader: `Listing.reader`.
        root: `Listing.root`.
    """
    return READERS[reader](root)


def _files(root: Path) -> tuple[Read, Stamp]:
    prefix = str(root) + os.sep
    return lambda name, notes: decode_file(prefix + name, notes), lambda name: _stamp(prefix + name)


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path object costs more than the call)
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


READERS: dict[str, Callable[[Path], tuple[Read, Stamp]]] = {"files": _files}
