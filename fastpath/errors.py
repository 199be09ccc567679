"""Errors a user can act on. Each is one line: where, what was found and wanted, what to do."""

from __future__ import annotations

import re

from fastpath.text import visible
from fastpath.urls import redacted


class FastpathError(Exception):
    """A failure with a remedy; the command line prints it as one line and exits with `exit_status`.

    No part of it holds a secret of a URL, whoever raised it.

    Args:
        location: The file, option or key concerned.
        problem: What was found and what was wanted.
        remedy: What to do about it, in the imperative.
    """

    exit_status = 1

    def __init__(self, location: object, problem: str, remedy: str) -> None:
        self.location, self.problem, self.remedy = redacted(str(location)), redacted(problem), redacted(remedy)
        super().__init__(
            visible(f"{self.location}: {self.problem}; {self.remedy}")
        )  # one line, whatever a file is called

    def __reduce__(self) -> tuple[type[FastpathError], tuple[str, str, str]]:
        """Survive the way back from a worker process: the default would pass one argument, the message."""
        return type(self), (self.location, self.problem, self.remedy)


class UsageError(FastpathError):
    """The request cannot be carried out as asked: a wrong option, device or path."""

    exit_status = 2


class MemoryExhaustedError(FastpathError):
    """The card or the machine has not the memory that was asked for."""


_EXHAUSTED = re.compile(
    r"out of memory"  # torch's, of CUDA
    r"|DefaultCPUAllocator: (can't|not enough)"  # torch's, of the CPU
    r"|CUDA allocation failed|Can't allocate \d+ bytes|std::bad_alloc",  # DALI's
    re.IGNORECASE,
)


def memory_exhausted(error: BaseException) -> MemoryExhaustedError | None:
    """Return what to say where torch, DALI or NumPy found no memory; None where an error is another one."""
    text = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and _EXHAUSTED.search(text)):
        return None
    wanted = re.search(r"allocate (\d+(?:\.\d+)? ?(?:[KMG]iB|bytes))", text)
    on_card = "cuda" in text.lower() or "on device" in text
    problem = f"ran out of memory{f', wanted {wanted[1]} more' if wanted else ''}"
    remedy = "lower data.batch_size, raise train.accumulate, or train with --residency host"
    return MemoryExhaustedError("the card" if on_card else "this machine", problem, remedy)


class ConfigError(UsageError):
    """A configuration key or value is wrong."""


class DataError(UsageError):
    """An input file (patch, label table, group table, submission) is not what it should be."""


class StoreError(UsageError):
    """A directory is not a packed store, or one of another format version or fingerprint."""


class CheckpointError(UsageError):
    """A checkpoint is not one, is damaged, or belongs to another store or configuration."""


class IntegrityError(FastpathError):
    """A packed store does not hold what its manifest says."""
