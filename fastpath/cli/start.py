"""Where the command starts: Ctrl-C and SIGTERM end it with one line at any moment, while it still imports too."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from fastpath.cli import outlets

_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


class StoppedError(KeyboardInterrupt):
    """A signal asked the command to end.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_status = 128 + number  # what shells report


def main() -> NoReturn:
    """Run the command line, ready for signals before anything large is imported."""
    outlets.occupy()
    os.environ["MPLBACKEND"] = "agg"  # no window is opened; a kernel of Jupyter names a backend that may not be here
    try:
        listen()
        from fastpath.cli.main import main as run

        run()
    except KeyboardInterrupt as error:
        outlets.tell("fastpath: interrupted")
        sys.exit(getattr(error, "exit_status", 128 + signal.SIGINT))


def listen() -> None:
    """Take Ctrl-C and SIGTERM, unless whoever started this has them ignored, as shells have of jobs behind.

    Under torchrun SIGTERM ends a process as usual: it may wait for a process that has failed, and never hear of it.
    """
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker
            _as_usual(number, frame)
        elif _importing(frame):
            _end_at_once(number)
        else:
            raise StoppedError(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        ranked = number == signal.SIGTERM and "TORCHELASTIC_RUN_ID" in os.environ
        if signal.getsignal(number) != signal.SIG_IGN and not ranked:
            signal.signal(number, stop)


def _as_usual(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        signal.default_int_handler(number, frame)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end_at_once(number: int) -> NoReturn:
    """End without unwinding: packages turn an exception amid their import into others, or swallow it."""
    terminal = os.isatty(2)
    outlets.tell(f"{_SHOW_CURSOR if terminal else ''}fastpath: interrupted")
    os._exit(128 + number)
