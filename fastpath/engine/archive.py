"""Plain values and tensors in one file, read so that nothing of the file is run and nothing is taken on trust.

The form is torch's own, and `tensor_file` tells what of a file is refused; here, bytes that do not match their checksum
as well.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fastpath.errors import CheckpointError
from fastpath.system.files import durably, sync_directory, temporary_name
from fastpath.system.tensor_file import read_tensor_file
from fastpath.text import brief


def write_archive(values: Mapping[str, Any], path: Path) -> None:
    """Write values so that `path` holds the old ones or the new ones, whenever the process dies or the disk fills.

    Raises:
        FastpathError: The file cannot be written; what it held before is still there.
    """
    with durably(path, remedy="make room on the disk, then go on with --resume") as file:
        sink = _Sink(file)
        torch.save(dict(values), sink)  # type: ignore[arg-type]
        if sink.error is not None:
            raise sink.error


def share_file(path: Path, other: Path) -> bool:
    """Make a second name of a file, so that `other` holds the old content or the new one, whenever the process dies.

    Both names are of one file until `write_archive` writes to either: that puts a new file in the name's place.

    Args:
        path: A file that was written durably.
        other: The second name, in the same directory.

    Returns:
        Whether the file system takes second names; where not, `other` is as it was.
    """
    temporary = temporary_name(other)
    try:
        temporary.hardlink_to(path)
        temporary.replace(other)  # does nothing where both are the same file already
    except OSError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(other.parent)
    return True


class _Sink:
    """Takes what torch writes to a file, whose first error it keeps: torch would bury it under one of its own.

    Straight to the file: a buffer of the whole checkpoint would double its memory and leave the heap in pieces.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file

    def write(self, content: memoryview) -> int:
        """Return as if all had been written, be it so or not."""
        if self.error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self.error = error
        return len(content)

    def flush(self) -> None:
        """Do nothing: the file is flushed when all is written."""


def read_archive(path: Path) -> dict[str, Any]:
    """Read what `write_archive` wrote onto the CPU, checking every byte of it against the file's own checksums.

    Raises:
        CheckpointError: The file is missing, damaged, holds anything but plain values and tensors, or claims sizes
            that it does not have.
    """
    try:
        values = read_tensor_file(path, CheckpointError, checked=True)
    except CheckpointError:
        if path.exists():
            raise
        raise CheckpointError(path, "does not exist", "give the directory of a run that was trained") from None
    except pickle.UnpicklingError:
        problem = "holds something other than plain values and tensors, which would need code to load"
        raise CheckpointError(path, problem, "use checkpoints that fastpath wrote, from a source you trust") from None
    # A torn or hand-made pickle can fail in as many ways as there are steps of building values from it.
    except Exception as error:
        problem = f"is damaged or not a checkpoint ({brief(error, 160)})"
        raise CheckpointError(path, problem, "train again, or restore a copy") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise CheckpointError(path, "is not a checkpoint: found no table of values", "give best.pt or last.pt")
    return values


def tensors(values: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor within nested values, with its dotted name."""
    if isinstance(values, Tensor):
        yield name, values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            yield from tensors(value, f"{name}.{number}")
