"""What is said while something runs, kept with what it leaves: `run.log` in its directory.

All of fastpath speaks through Python's logging, below the logger `fastpath`. Handlers are attached there for the time
of a command (`of_command`) or of a run that another program begins (`kept_in`); the root logger is left alone.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from fastpath.errors import FastpathError, memory_exhausted
from fastpath.system.files import as_failure
from fastpath.text import visible
from fastpath.urls import redacted

NAME = "run.log"
LOGGER = logging.getLogger("fastpath")

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CLOSED, _GIVEN_UP = -1, -2  # in place of a descriptor


class LogFile(logging.Handler):
    """Adds each record to a file at once, in one write, so that a killed process leaves whole lines.

    The file is made by the first record once its directory is there; until then records wait. Where it cannot be
    written that is said once, and the work goes on.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._descriptor = _CLOSED
        self._waiting: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, and those that have waited."""
        if self._descriptor == _GIVEN_UP:
            return
        self._waiting.append(record)
        try:
            if self._descriptor == _CLOSED:
                self._descriptor = _open(self.path)
            for each in self._waiting:
                os.write(self._descriptor, _lines(each))
            self._waiting.clear()
        except FileNotFoundError:  # the directory is yet to be made
            return
        except OSError as error:
            self.close()
            self._descriptor = _GIVEN_UP
            LOGGER.warning("%s", as_failure(self.path, error))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = _CLOSED
        super().close()


def _open(path: Path) -> int:
    """Open a log to be added to; a last line that a crash has cut short is ended."""
    descriptor = os.open(path, _FLAGS, 0o666)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
    return descriptor


def _lines(record: logging.LogRecord) -> bytes:
    """Return a record as it is kept: a line with its time (UTC) and level, and below it a traceback, if it has one."""
    stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    mark = f"{getattr(record, 'mark')[0]} " if hasattr(record, "mark") else ""  # noqa: B009 (unknown to mypy)
    lines = [f"{stamp} {record.levelname:<7} {mark}{visible(redacted(record.getMessage()))}\n"]
    if record.exc_info:
        trace = "".join(traceback.format_exception(*record.exc_info)).splitlines()
        lines += [f"    {visible(redacted(line, foreign=True))}\n" for line in trace]
    return "".join(lines).encode()


class _CommandLog(logging.Handler):
    """Holds what a command says until the directory that it leaves is known, then keeps that and the rest there."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[logging.LogRecord] = []
        self.file: LogFile | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.file is None:
            self._held.append(record)
        else:
            self.file.handle(record)

    def keep_in(self, path: Path) -> None:
        self.file = LogFile(path)
        for record in self._held:
            self.file.handle(record)
        self._held.clear()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        super().close()


class _Relay(logging.Handler):
    """Tells the loggers above what they would have been told, had nobody asked for more."""

    def emit(self, record: logging.LogRecord) -> None:
        if LOGGER.parent is not None:
            LOGGER.parent.callHandlers(record)


@contextmanager
def of_command(terminal: logging.Handler) -> Iterator[None]:
    """Show what is said within the block, all of a command, and keep it in the first directory of `kept_in`.

    How the command failed is kept as well, but not shown: who catches it does so.

    Args:
        terminal: Shows records of its level and above.
    """
    log = _CommandLog()
    with _heard_by(terminal, log, told_of_failure=log):
        yield


@contextmanager
def kept_in(directory: Path) -> Iterator[None]:
    """Keep what is said within the block in the directory's `run.log`, after what that holds.

    The first directory of a command gets all that the command says, from its first word to its last.

    Args:
        directory: Where; a log is made once it is there, and does not make it.
    """
    path = directory.resolve() / NAME
    command = next((each for each in LOGGER.handlers if isinstance(each, _CommandLog)), None)
    files = [each for each in (*LOGGER.handlers, command and command.file) if isinstance(each, LogFile)]
    if any(file.path == path for file in files):
        yield
    elif command is not None and command.file is None:
        command.keep_in(path)
        yield
    else:
        file = LogFile(path)
        with _heard_by(file, told_of_failure=file):
            yield


@contextmanager
def aside() -> Iterator[None]:
    """Keep what is said in the block out of what is shown and kept around it: one of several runs, with its own log."""
    around, propagates = LOGGER.handlers[:], LOGGER.propagate
    for handler in around:
        LOGGER.removeHandler(handler)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.propagate = propagates
        for handler in around:
            LOGGER.addHandler(handler)


@contextmanager
def _heard_by(*handlers: logging.Handler, told_of_failure: logging.Handler) -> Iterator[None]:
    """Attach handlers to the package's logger for the block; handlers of loggers above hear what they heard before."""
    level, propagates = LOGGER.level, LOGGER.propagate
    relayed = not any(isinstance(each, _CommandLog) for each in (*handlers, *LOGGER.handlers)) and propagates
    attached = [*handlers, *([_Relay(LOGGER.getEffectiveLevel())] if relayed else [])]
    for handler in attached:
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    try:
        yield
    except BaseException as error:
        failure = _failure(error)
        if failure is not None:
            told_of_failure.handle(failure)
        raise
    finally:
        LOGGER.setLevel(level)
        LOGGER.propagate = propagates
        for handler in attached:
            LOGGER.removeHandler(handler)
            handler.close()


def _failure(error: BaseException) -> logging.LogRecord | None:
    """Return what to keep of an error: its line, and the traceback of one that nobody has foreseen; None of an exit."""
    if isinstance(error, SystemExit | GeneratorExit):
        return None
    if isinstance(error, KeyboardInterrupt):
        return _record(logging.WARNING, "interrupted", None)
    if isinstance(error, FastpathError):
        return _record(logging.ERROR, str(error), None)
    message = memory_exhausted(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"
    return _record(logging.ERROR, str(message), error)


def _record(level: int, message: str, error: BaseException | None) -> logging.LogRecord:
    trace = None if error is None else (type(error), error, error.__traceback__)
    return LOGGER.makeRecord(LOGGER.name, level, __file__, 0, "%s", (message,), trace)
