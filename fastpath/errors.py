"""Errors a user can act on. Each is one line: where, what was found and wanted, what to do."""

from __future__ import annotations


class FastpathError(Exception):
    """A failure with a remedy; the command line prints it as one line and exits with `exit_status`.

    Args:
        where: The file, option or key concerned.
        problem: What was found and what was wanted.
        remedy: What to do about it, in the imperative.
    """

    exit_status = 1

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(f"{where}: {problem}; {remedy}")

    def __reduce__(self) -> tuple[type[FastpathError], tuple[str, str, str]]:
        """Survive the way back from a worker process: the default would pass one argument, the message."""
        return type(self), (self.where, self.problem, self.remedy)


class UsageError(FastpathError):
    """The request cannot be carried out as asked: a wrong option, device or path."""

    exit_status = 2


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
