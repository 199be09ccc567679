"""Device, precision, threads, seeds and ranks as one value, decided once and handed down.

This is the only module that touches `torch.cuda`, `torch.autocast` and `GradScaler`. Objects that a device or
precision does not need exist all the same and are disabled, so no caller branches.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from fastpath.errors import UsageError

Precision = Literal["float32", "bfloat16", "float16"]
GradScaler = torch.amp.GradScaler  # for annotations elsewhere
_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how a run computes.

    Attributes:
        device: The torch device of model and batches.
        precision: The dtype of matrix products and convolutions under autocast.
        num_threads: CPU threads of DALI and of torch's CPU operators.
        rank: This process among `world_size`.
        world_size: Number of processes that share each global batch.
        notice: Why the precision is not the one asked for; empty when it is.
    """

    device: torch.device
    precision: Precision = "float32"
    num_threads: int = 2
    rank: int = 0
    world_size: int = 1
    notice: str = ""

    @property
    def dali_device_id(self) -> int | None:
        """The CUDA ordinal for DALI, or None for its CPU back end (never -1)."""
        return (self.device.index or 0) if self.device.type == "cuda" else None

    @property
    def placement(self) -> Literal["cpu", "gpu"]:
        """Where DALI's image operators run."""
        return "gpu" if self.device.type == "cuda" else "cpu"

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return the mixed-precision context; disabled, not absent, in float32."""
        return torch.autocast(self.device.type, _DTYPES[self.precision], enabled=self.precision != "float32")

    def grad_scaler(self) -> GradScaler:
        """Return the loss scaler; enabled for float16 only (bfloat16 has float32's exponent range)."""
        return GradScaler(self.device.type, enabled=self.precision == "float16")

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, channels-last in memory."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def seed(self, seed: int, *position: int) -> None:
        """Seed torch's global generators as a pure function of `seed` and `position` (epoch, step …).

        Dropout thereby depends on where in the run a step stands, not on what ran before it, which is what
        lets a run resume from two integers.
        """
        state = np.random.SeedSequence([seed, *position]).generate_state(2, np.uint32)
        torch.manual_seed(int(state[0]) << 32 | int(state[1]))

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it; for clocks only."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> str:
        """Return one line for consoles and records."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return (
            f"{name}, {self.precision}, channels-last, {self.num_threads} threads, rank {self.rank}/{self.world_size}"
        )


def resolve(device: str = "auto", *, amp: bool = False, num_threads: int | None = None) -> Runtime:
    """Decide device, precision and threads from what was asked and what is there.

    Args:
        device: `auto` (CUDA where there is one), `cpu` or `cuda`.
        amp: Mixed precision: bfloat16 where the device computes in it, else float16 with a scaler on CUDA. A
            CPU without bfloat16 instructions keeps float32, with a notice: emulation there is several times slower.
        num_threads: CPU threads; None takes the cores this process may use.

    Raises:
        UsageError: CUDA was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda",
            "found no usable CUDA device",
            "use --device cpu, or run 'fastpath doctor' to see what is missing",
        )
    on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    threads = num_threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    if on_cuda:
        torch.backends.cudnn.benchmark = True
    else:
        _keep_large_blocks()
    precision, notice = _precision(on_cuda) if amp else ("float32", "")
    return Runtime(
        device=torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu"),
        precision=precision,
        num_threads=threads,
        notice=notice,
    )


def _keep_large_blocks() -> None:
    """Tell glibc to keep freed memory for the next step instead of returning it to the kernel.

    By default it maps every block over 32 MiB anew and gives it back when freed, so each activation of each step costs
    a page fault per 4 KiB: a third of a training step on the CPU. Where the C library is another, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _precision(on_cuda: bool) -> tuple[Precision, str]:
    if on_cuda:
        return ("bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"), ""
    if cpu_has_bfloat16():
        return "bfloat16", ""
    return "float32", "--amp: this CPU has no bfloat16 instructions, so the run computes in float32"


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: AVX512-BF16 or AMX on x86, BF16 or SVE-BF16 on Arm."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
