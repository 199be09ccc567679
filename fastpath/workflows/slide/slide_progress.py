"""Logits of a slide's tiles as they become known, so that a run that is stopped loses minutes, not hours.

The file is a line of JSON that says what follows, and blocks in the order of the tiles: how many logits, a checksum,
and the logits as float32, all little-endian. It grows at its end alone. What a kill or a full disk has cut short is
told by the checksum, and left behind by writing a new file of what is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from fastpath.errors import UsageError
from fastpath.system import files

NAME = ".tiles.partial"

_COUNT, _SUM = 4, 8  # bytes of a block before its logits
_BYTES_MAX = 1 << 32  # of a file: a slide of 10⁹ tiles


class Progress:
    """Logits that are known and written down.

    Args:
        path: The file.
        logits_N: What it holds.
        lock: An open descriptor whose lock keeps other processes out.
    """

    def __init__(self, path: Path, logits_N: NDArray[np.float32], lock: int) -> None:
        self._path, self._parts, self._num, self._lock = path, [logits_N], len(logits_N), lock

    def __len__(self) -> int:
        return self._num

    @classmethod
    def resume(cls, folder: Path, origin: Mapping[str, Any], num_tiles: int) -> Progress:
        """Go on with the file in a folder, or start one.

        Args:
            folder: Where the file lies.
            origin: What the logits must be of to be worth anything; plain values.
            num_tiles: Tiles in all.

        Raises:
            UsageError: The file is of another slide or run, or not one at all, or another process writes to it.
        """
        path, lock = folder / NAME, _locked(folder)
        try:
            return cls(path, _known(path, origin, num_tiles), lock)
        except BaseException:
            os.close(lock)
            raise

    def append(self, logits_N: NDArray[np.float32]) -> None:
        """Write down the next logits."""
        content = logits_N.astype("<f4").tobytes()
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(len(logits_N).to_bytes(_COUNT, "little") + xxhash.xxh3_64_digest(content) + content)
        except OSError as error:
            raise files.as_failure(self._path, error) from None
        self._parts.append(logits_N)
        self._num += len(logits_N)

    def logits(self) -> NDArray[np.float32]:
        """Return all logits, float32 [N]."""
        return np.concatenate(self._parts)

    def remove(self) -> None:
        """Remove the file: what was made of the logits is kept."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let other processes in."""
        os.close(self._lock)


_REMEDY = "delete it to score this slide from the start, or choose another -o"


def _locked(folder: Path) -> int:
    """Make a folder where it is missing and lock it; returns the descriptor that holds the lock."""
    lock = -1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UsageError(
            folder, "another process scores a slide into it", "wait for it, or choose another -o"
        ) from None
    except OSError as error:
        if lock < 0:
            raise files.as_failure(folder, error) from error
    return lock  # unlocked where the file system has no locks


def _known(path: Path, origin: Mapping[str, Any], num_tiles: int) -> NDArray[np.float32]:
    """Return the logits that a file holds, having seen that more can be written after them."""
    head = _head(origin)
    if not os.path.lexists(path):
        files.write_durably(path, head)
        return np.empty(0, np.float32)
    content = files.read_regular(path, bytes_max=_BYTES_MAX, follow=False)
    if not content.startswith(head):
        _refuse(path, content, origin)
    known_N, size = _whole_blocks(content, len(head))
    if len(known_N) > num_tiles:
        raise UsageError(path, f"holds {len(known_N)} scores, wanted at most {num_tiles}", _REMEDY)
    if size < len(content):
        files.write_durably(path, content[:size])
    return known_N


def _head(origin: Mapping[str, Any]) -> bytes:
    text = json.dumps(origin, sort_keys=True)
    return f"{xxhash.xxh3_64_hexdigest(text.encode())} {text}\n".encode()


def _refuse(path: Path, content: bytes, origin: Mapping[str, Any]) -> None:
    """Say of what a file is.

    Raises:
        UsageError: Always.
    """
    line = content.partition(b"\n")[0]
    try:
        differing = json.loads(line.partition(b" ")[2])
        whole = _head(differing) == line + b"\n"
    except (ValueError, TypeError, RecursionError):
        differing, whole = {}, False
    if not whole:
        raise UsageError(path, "is not what a stopped 'fastpath slide' leaves", _REMEDY)
    key = next(name for name in sorted({*differing, *origin}) if differing.get(name) != origin.get(name))
    problem = f"holds scores of another {key}: found {differing.get(key)}, wanted {origin.get(key)}"
    raise UsageError(path, " ".join(problem.split()), _REMEDY)


def _whole_blocks(content: bytes, start: int) -> tuple[NDArray[np.float32], int]:
    """Return the logits of all blocks before the first that is cut or changed, and where that begins."""
    parts, at = [np.empty(0, np.float32)], start
    while at + _COUNT + _SUM < len(content):
        first = at + _COUNT + _SUM
        values = content[first : first + 4 * int.from_bytes(content[at : at + _COUNT], "little")]
        whole = values and len(values) == 4 * int.from_bytes(content[at : at + _COUNT], "little")
        if not whole or xxhash.xxh3_64_digest(values) != content[at + _COUNT : first]:
            break
        parts.append(np.frombuffer(values, "<f4").astype(np.float32))
        at = first + len(values)
    return np.concatenate(parts), at
