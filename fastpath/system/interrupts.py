"""Ctrl-C as a request: work stops at the next place where its state can be kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(*, patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back within the block.

    Args:
        patient: Hold back all that follow too: torchrun passes on what the terminal has already sent.

    Yields:
        A function that tells whether Ctrl-C was pressed. A second one interrupts at once, as usual.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread may set handlers, and only it gets the signal
        return

    def hold(_number: int, _frame: FrameType | None) -> None:
        pressed.set()
        if not patient:
            signal.signal(signal.SIGINT, usual)

    usual = signal.signal(signal.SIGINT, hold)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, usual)
