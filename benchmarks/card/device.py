"""What the card says of itself: memory, clocks, power. Empty where there is no card, or no nvidia-smi."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import tempfile
import types
from typing import Any

import torch

from fastpath.runtime import Runtime

QUERY = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu,memory.used"
WATCHED = {"clocks.sm": "sm_mhz", "power.draw": "power_w", "utilization.gpu": "busy_percent"}
PERIOD_MS = 250


def smi() -> dict[str, str]:
    """Return the driver's answer by name, with its units."""
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    first = (done.stdout.strip().splitlines() or [""])[0]
    return dict(zip(QUERY.split(","), (value.strip() for value in first.split(",")), strict=False))


class Watch:
    """Asks the driver four times a second, as long as its block runs, what the card is doing."""

    def __enter__(self) -> Watch:
        self._csv = tempfile.TemporaryFile("w+")
        query = [f"--query-gpu={','.join(WATCHED)}", "--format=csv,noheader,nounits", f"-lms={PERIOD_MS}"]
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(["nvidia-smi", *query], stdout=self._csv, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | types.TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._csv.close()

    def so_far(self) -> dict[str, float]:
        """Return the median of each since the last call; empty where the driver was not there to ask."""
        self._csv.seek(0)
        lines = [line.split(",") for line in self._csv.read().splitlines()]
        self._csv.seek(0)
        self._csv.truncate()
        medians = {}
        for column, name in enumerate(WATCHED.values()):
            with contextlib.suppress(ValueError, IndexError, statistics.StatisticsError):
                medians[name] = statistics.median(float(line[column]) for line in lines)
        return medians


def peak(runtime: Runtime) -> dict[str, Any]:
    """Return the most memory that torch's tensors took since `forget`, and what the whole card holds now, in GiB."""
    if runtime.device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(runtime.device)  # noqa: TID251 (a measuring tool, no part of a run)
    allocated = torch.cuda.max_memory_allocated(runtime.device)  # noqa: TID251
    return {"peak_gib": round(allocated / 2**30, 2), "card_gib": round((total - free) / 2**30, 2)}


def forget(device: str) -> None:
    """Give cached memory back to the card, and begin a new peak."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()  # noqa: TID251
        torch.cuda.reset_peak_memory_stats()  # noqa: TID251
