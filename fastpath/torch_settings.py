"""Settings that hold for a whole process; `runtime` makes them."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_large_blocks() -> None:
    """Tell glibc to keep freed memory for the next step instead of returning it to the kernel.

    By default every block over 32 MiB is mapped anew and given back when freed, so each activation of each step costs a
    page fault per 4 KiB: a third of a training step on the CPU. Where the C library is another, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
