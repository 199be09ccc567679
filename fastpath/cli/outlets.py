"""Standard output and error as they may be: closed, full, read by nobody any more, or of an encoding with few signs."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress

READER_LEFT = 141  # 128 + SIGPIPE, what shells report of a command whose reader has left


def prepare() -> None:
    """Let nothing printed raise over a character that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def occupy() -> None:
    """Open /dev/null where standard input, output or error is closed.

    A shard would else be opened as descriptor 1, and what a library prints would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            assert opened == descriptor  # the lowest that is free


def tell(line: str) -> None:
    """Print a line on standard error, if anybody can read it."""
    with suppress(OSError, ValueError):
        if sys.stderr is not None:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def reader_left(error: OSError) -> bool:
    """Whether an error is that nobody reads standard output any more, as with `| head`, and not another pipe's."""
    return error.errno == errno.EPIPE and bool(_events() & select.POLLERR)


def _events() -> int:
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
        return next((events for _, events in poll.poll(0)), 0)
    except (OSError, ValueError, AttributeError):
        return 0


def silence_if_full(error: OSError) -> None:
    """Give up what waits to be printed where a device is full: standard output may be what could not be written."""
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        silence()


def silence() -> None:
    """Let standard output lead nowhere, so that what still waits to be printed cannot fail when Python ends."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
