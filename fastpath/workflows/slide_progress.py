"""Logits of a slide's tiles as they become known, so that a run that is stopped loses minutes, not hours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = ".tiles.partial"


class Progress:
    """A file of one line that says what follows, and float32 logits in the order of the tiles.

    Args:
        path: The file.
        logits_N: What it holds.
    """

    def __init__(self, path: Path, logits_N: NDArray[np.float32]) -> None:
        self._path, self._parts, self._num = path, [logits_N], len(logits_N)

    def __len__(self) -> int:
        return self._num

    @classmethod
    def resume(cls, folder: Path, origin: Mapping[str, Any]) -> Progress:
        """Go on with the file in a folder if it is of the same origin, else start a new one."""
        path = folder / NAME
        head = (json.dumps(origin, sort_keys=True) + "\n").encode()
        content = path.read_bytes() if path.exists() else b""
        if not content.startswith(head):
            path.write_bytes(head)
            return cls(path, np.empty(0, np.float32))
        num = (len(content) - len(head)) // 4
        known_N = np.frombuffer(content, "<f4", num, len(head)).astype(np.float32)
        with path.open("rb+") as file:
            file.truncate(len(head) + 4 * num)  # a write may have been cut short within a number
        return cls(path, known_N)

    def append(self, logits_N: NDArray[np.float32]) -> None:
        """Write down the next logits."""
        with self._path.open("ab") as file:
            file.write(logits_N.astype("<f4").tobytes())
        self._parts.append(logits_N)
        self._num += len(logits_N)

    def finish(self) -> NDArray[np.float32]:
        """Return all logits and remove the file."""
        self._path.unlink(missing_ok=True)
        return np.concatenate(self._parts)
