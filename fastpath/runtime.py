"""Device, precision, threads, seeds and ranks as one value, decided once and handed down.

Only this module and those it is made of (`cards`, `process_group`, `streams`, `device_clock`,
`torch_settings`) touch
`torch.cuda`, `torch.autocast`, `GradScaler` and `torch.distributed`. What a device, a precision or a lone process does
not need exists all the same and is disabled, so no caller branches.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from fastpath.devices import cards, torch_settings
from fastpath.devices.device_clock import CudaClock, HostClock, IdleClock
from fastpath.devices.process_group import Ranked
from fastpath.devices.process_group import attempt as attempt  # of the ranks that torchrun starts again
from fastpath.devices.streams import Arrival as Arrival
from fastpath.devices.streams import Streamed
from fastpath.errors import UsageError

Precision = Literal["float32", "bfloat16", "float16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16"]
"""What may be asked for; `resolve` decides, and on a CPU `workflows.precision`."""
GradScaler = torch.amp.GradScaler  # for annotations elsewhere
_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Runtime(Ranked, Streamed):
    """Where and how a run computes.

    Attributes:
        device: The torch device of model and batches.
        precision: The dtype of matrix products and convolutions under autocast.
        num_threads: CPU threads of DALI and of torch's CPU operators.
        rank: This process among `world_size`.
        world_size: Number of processes that share each global batch.
        notice: How the precision was decided where that is not plain; empty where it is.
        tentative: Whether `precision` is but a candidate, to be held against float32 before it is used.
    """

    device: torch.device
    precision: Precision = "float32"
    num_threads: int = 2
    rank: int = 0
    world_size: int = 1
    notice: str = ""
    tentative: bool = False

    @property
    def dali_device_id(self) -> int | None:
        """The CUDA ordinal for DALI, or None for its CPU back end (never -1)."""
        return (self.device.index or 0) if self.device.type == "cuda" else None

    @property
    def summing_threads(self) -> int:
        """CPU threads that the sums of a step are shared out to, which their last digits depend on; 0 on a card."""
        return self.num_threads if self.device.type == "cpu" else 0

    @property
    def placement(self) -> Literal["cpu", "gpu"]:
        """Where DALI's image operators run."""
        return "gpu" if self.device.type == "cuda" else "cpu"

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return the mixed-precision context; disabled, not absent, in float32."""
        return torch.autocast(self.device.type, _DTYPES[self.precision], enabled=self.precision != "float32")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of matrix products and convolutions."""
        return _DTYPES[self.precision]

    def grad_scaler(self) -> GradScaler:
        """Return the loss scaler; enabled for float16 only (bfloat16 has float32's exponent range)."""
        return GradScaler(self.device.type, enabled=self.precision == "float16")

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, channels-last in memory."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def seed(self, seed: int, *position: int) -> None:
        """Seed torch's global generators as a pure function of `seed` and `position` (epoch, step …).

        Dropout thereby depends on where in a run a step stands and on nothing else: it resumes from two integers.
        """
        state = np.random.SeedSequence([seed, *position]).generate_state(2, np.uint32)
        for generator in self.generators:  # torch.manual_seed sets the same, and those of devices that are not used
            generator.manual_seed(int(state[0]) << 32 | int(state[1]))

    @property
    def generators(self) -> list[torch.Generator]:
        """The global generators that a network may draw from: the CPU's, and the device's where it is another."""
        if self.device.type != "cuda":
            return [torch.default_generator]
        torch.cuda.init()  # type: ignore[no-untyped-call]  # which makes them
        return [torch.default_generator, torch.cuda.default_generators[self.device.index or 0]]

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it; for clocks only."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @property
    def has_tf32(self) -> bool:
        """Whether the device multiplies float32 as TF32, in convolutions and products alike."""
        return self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) >= (8, 0)

    def idle_clock(self) -> IdleClock:
        """Return a clock of the time that the device is idle between steps; it starts."""
        return CudaClock() if self.device.type == "cuda" else HostClock()

    def repeatable(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """Return the context in which the device computes the same bits every time, if wanted; a CPU always does."""
        on_cuda = self.device.type == "cuda"
        return torch_settings.deterministic() if wanted and on_cuda else contextlib.nullcontext()

    @property
    def free_bytes(self) -> int:
        """Memory that is free on the device: of the card, or of the machine, whose page cache counts as free.

        Blocks that torch keeps for its next tensors are free too, though the driver counts them as used.
        """
        if self.device.type == "cuda":
            kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return int(torch.cuda.mem_get_info(self.device)[0]) + kept
        path = Path("/proc/meminfo")
        match = re.search(r"MemAvailable:\s*(\d+)", path.read_text(encoding="utf-8")) if path.exists() else None
        return int(match[1]) * 1024 if match else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")

    def release(self) -> None:
        """Give back what earlier runs of this process have left on a card, so that DALI may have it too."""
        if self.device.type == "cuda":
            gc.collect()  # networks and their gradients refer to one another
            torch.cuda.empty_cache()

    def describe(self) -> str:
        """Return one line for consoles and records."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        numbers = f"{self.precision} if faster than float32" if self.tentative else self.precision
        numbers += " as TF32" if self.has_tf32 and self.precision == "float32" else ""
        return f"{name}, {numbers}, channels-last, {self.num_threads} threads, rank {self.rank}/{self.world_size}"


def resolve(
    device: str = "auto",
    *,
    amp: bool = False,
    precision: PrecisionChoice | None = None,
    num_threads: int | None = None,
    ranked: bool = False,
) -> Runtime:
    """Decide device, precision, threads and rank from what was asked and what is there.

    Args:
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, or `cuda:1` for one of several cards.
        amp: Short for `precision="auto"`; without it and `precision`, float32.
        precision: `auto` is mixed precision where it is faster: bfloat16 on CUDA, or float16 with a scaler on older
            cards. On a CPU with bfloat16 instructions it is left open, `tentative`, since only a measurement of the
            network's own step can tell; one without them keeps float32, with a notice. Any other is taken as asked
            for, with a notice where the device emulates it.
        num_threads: CPU threads; None shares the cores this process may use among the ranks on this machine.
        ranked: Be one of the processes that torchrun started, if it did; otherwise each of them works alone.

    Raises:
        UsageError: CUDA was asked for and there is none, or not that card, or there are fewer devices than ranks.
    """
    environment = os.environ if ranked else {}
    rank, local_rank = (int(environment.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    world_size, local_world = (int(environment.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    on_cuda, unserved = _on_cuda(device, local_rank)
    threads = num_threads or max(1, len(os.sched_getaffinity(0)) // local_world)
    torch.set_num_threads(threads)
    if on_cuda:
        _choose_card(device, local_rank if world_size > 1 else None, local_world)
        torch.backends.cudnn.benchmark = True
        torch_settings.use_tf32()
    else:
        torch_settings.keep_large_blocks()
    chosen, notice = _precision(precision or ("auto" if amp else "float32"), on_cuda)
    return Runtime(
        device=torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu"),
        precision=chosen,
        num_threads=threads,
        rank=rank,
        world_size=world_size,
        notice="; ".join(filter(None, (unserved, notice))),
        tentative=precision in (None, "auto") and chosen != "float32" and not on_cuda,
    )


def _on_cuda(device: str, local_rank: int) -> tuple[bool, str]:
    """Return whether to compute on a card, and what is to be said of one that is left alone."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(
            f"--device {device}",
            "found no usable CUDA device",
            "use --device cpu, or run 'fastpath doctor' to see what is missing",
        )
    if device == "cpu" or not torch.cuda.is_available():
        return False, ""
    result, number = cards.names_and_capabilities(), int(device.partition(":")[2] or local_rank)
    if number >= len(result) or cards.served(result[number][1], cards.kernels()):
        return True, ""
    lack = f"this torch has no kernels for {result[number][0]}"
    if device != "auto":
        raise UsageError(
            f"--device {device}", lack, "use --device cpu, or run 'fastpath doctor' for the wheel to install"
        )
    return False, f"--device auto: {lack}, so the run computes on the CPU; 'fastpath doctor' names the wheel to install"


def _choose_card(device: str, local_rank: int | None, local_world: int) -> None:
    """Make the card that is named, or that of this rank, torch's current one."""
    count, number = torch.cuda.device_count(), device.partition(":")[2]
    if number and local_rank is not None:
        problem = f"found one card named for {local_world} processes"
        raise UsageError(f"--device {device}", problem, "use --device cuda: each process takes a card of its own")
    if local_rank is not None and local_rank >= count:
        problem = f"found {count} CUDA devices for {local_world} processes"
        raise UsageError("torchrun", problem, "give --nproc-per-node at most that many, or use --device cpu")
    if number and int(number) >= count:
        known = ", ".join(f"cuda:{each}" for each in range(count))
        raise UsageError(f"--device {device}", f"found {known}", "name one of these")
    if number or local_rank is not None:
        torch.cuda.set_device(int(number) if number else local_rank)


def _precision(asked: PrecisionChoice, on_cuda: bool) -> tuple[Precision, str]:
    """Return the precision, on a CPU the candidate, and what is to be said of it."""
    native = _fast_precisions(on_cuda)
    if asked == "auto":
        text = "--amp: this CPU has no bfloat16 instructions, so the run computes in float32"
        return native[0], "" if native[0] != "float32" else text
    if asked in native:
        return asked, ""
    return asked, f"--precision {asked}: this device has no instructions for it and emulates it, which is slow"


def resumed(began: str, device: str) -> PrecisionChoice:
    """Return what to ask of `resolve` in order to go on as a run began: its precision, unless it would be emulated."""
    known = _fast_precisions(device != "cpu" and torch.cuda.is_available())
    return next((precision for precision in known if precision == began), "auto")


def _fast_precisions(on_cuda: bool) -> tuple[Precision, ...]:
    """Return what the device computes in by instructions of its own, the one that is likely fastest first."""
    if on_cuda:
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16", "float16", "float32") if bfloat16 else ("float16", "float32")
    return ("bfloat16", "float32") if cpu_has_bfloat16() else ("float32",)


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: AVX512-BF16 or AMX on x86, BF16 or SVE-BF16 on Arm."""
    # Linux's own words, since torch names them only in later versions than the oldest that serves.
    text = _CPUINFO.read_text(encoding="utf-8") if _CPUINFO.exists() else ""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return bool(match and {"avx512_bf16", "amx_bf16", "bf16", "svebf16"} & set(match[1].split()))
