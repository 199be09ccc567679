"""Settings of torch and of the C library that hold for a whole process; `runtime` makes them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import warnings
from collections.abc import Iterator

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def keep_large_blocks() -> None:
    """Tell glibc to keep freed memory for the next step instead of returning it to the kernel.

    By default every block over 32 MiB is mapped anew and given back when freed, so each activation of each step costs a
    page fault per 4 KiB: a third of a training step on the CPU. Where the C library is another, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def use_tf32() -> None:
    """Let float32 products and convolutions alike use TF32 on CUDA: torch's default is convolutions only.

    TF32 keeps float32's exponent and 10 bits of its mantissa, bfloat16 7; it is what a card since Ampere multiplies
    float32 with at full rate. Which calls: `fp32_precision`, new in torch 2.9, makes torch.compile's question for the
    older setting an error, and these two are understood from 2.6 to 2.14 and kept in step with it. 2.9 warns of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Let CUDA compute the same bits every time, for the block.

    cuBLAS reads its variable when it is first called: what it was by then holds. An operator that has no deterministic
    kernel raises a RuntimeError that names it.
    """
    os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")  # 8 buffers of 4 MiB, of two that NVIDIA names as deterministic
    cudnn, filled = torch.backends.cudnn, torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    before = cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
    cudnn.benchmark, cudnn.deterministic = False, True
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # nothing reads it unset
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before[:2]
        torch.use_deterministic_algorithms(before[2])
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
