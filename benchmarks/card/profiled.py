"""Stage: what one training step asks of the card: launches, copies, and what waits."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks import training
from benchmarks.card import patches
from benchmarks.card.check import Check
from benchmarks.card.measure import WARM, endless
from fastpath.data.loader import train_loader
from fastpath.runs.run_data import open_run_data

KERNELS, TRACE = "kernels.txt", "trace.json.gz"
STEPS = 5
# By what the CUDA runtime's own functions are called in a trace.
COUNTED = {"launches": "LaunchKernel", "graph_launches": "GraphLaunch", "copies": "cudaMemcpyAsync"}
COUNTED |= {"memsets": "cudaMemsetAsync", "waits": "Synchronize"}


def tell(check: Check) -> None:
    """Tell of counts a step; leaves the table of kernels and a trace for chrome://tracing or Perfetto behind."""
    runtime, config = check.runtime(), check.config()
    data, steps = open_run_data(patches.store(check), config), 2 if check.tiny else STEPS
    pixels = training.placed(config, data, runtime)
    on_card = runtime.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with closing(train_loader(data.train, config, runtime, pixels=pixels)) as loader:
        events = training.steps(config, data, endless(loader), runtime)
        for _ in range(WARM):
            next(events)
        runtime.synchronize()
        with profile(activities=activities) as profiler:
            for _ in range(steps):
                next(events)
            runtime.synchronize()
    averages = profiler.key_averages()
    check.tell("profile", batch=config.data.batch_size, steps=steps, **counts(averages, steps))
    by = "self_device_time_total" if on_card else "self_cpu_time_total"
    (check.out / KERNELS).write_text(averages.table(sort_by=by, row_limit=60), encoding="utf-8")
    for event in sorted(averages, key=lambda event: -_own_us(event))[:10]:
        share_ms = round(_own_us(event) / 1e3 / steps, 4)
        check.tell("profile", kernel=event.key[:90], calls=round(event.count / steps, 1), card_ms=share_ms)
    profiler.export_chrome_trace(str(check.out / TRACE))


def counts(averages: Any, steps: int) -> dict[str, float]:  # noqa: ANN401 (the profiler's list)
    """Return how often a step called each kind of function of the CUDA runtime, and the card's time in kernels."""
    counted = {
        name: round(sum(event.count for event in averages if part in event.key) / steps, 1)
        for name, part in COUNTED.items()
    }
    return counted | {"card_ms": round(sum(map(_own_us, averages)) / 1e3 / steps, 3)}


def _own_us(event: Any) -> float:  # noqa: ANN401
    return float(getattr(event, "self_device_time_total", 0.0))
