"""How fast this machine feeds and trains: the loader alone, the network alone, and both together."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from fastpath.config import Config
from fastpath.data.loader import TrainLoader, train_loader
from fastpath.data.residency import Pixels, ResidencyChoice, budget, make_pixel_source
from fastpath.data.step_parameters import training_frame
from fastpath.figures import bench_rates
from fastpath.runs import output_place
from fastpath.runs.lone_step import training_step
from fastpath.runs.precision import settle
from fastpath.runs.run_data import RunData, open_run_data
from fastpath.runtime import Runtime
from fastpath.system.files import write_durably
from fastpath.types import Batch
from fastpath.workflows.bench import roofline

BenchKind = Literal["loader", "train", "ceiling"]

WARM_BATCHES = 4  # more than the graph prefetches, so that the clock sees steady state
GOOD_ENOUGH = 0.97  # of the network's own rate: beyond it a faster loader cannot be felt
READING = 0.75  # of the time to make a batch: beyond it, reading the store is what takes long
KEPT = 0.9  # of it: below, the loader is what to work on


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """Rates in patches a second; None where not measured.

    Attributes:
        loader_images_per_s: Batches made and thrown away.
        model_images_per_s: Training steps on one batch that stays on the device.
        train_images_per_s: Training steps on the loader's batches.
        stall_share: Share of those steps' time that the device was idle between them, 0 to 1.
        host_ms: Processor time of the calling thread for each of those steps, in milliseconds. On a CPU that is most of
            the step; a card works while the host prepares what comes next, as long as this is less than the step.
        gather_images_per_s: Patches read from the store in the order of training, no graph behind.
        step_gflop: Billions of floating-point operations of a training step, by patch.
        peak_gflop_per_s: Of a large matrix product on this device, in the run's precision.
        bound_images_per_s: The one over the other: no step can be faster.
        published_images_per_s: The rate at which the step would run at the card's published ResNet-50 speed.
        verdict: What limits training here, and which setting to change.
        batch_size: Patches a step.
        image_size_px: Side of the network's input.
        runtime: Device, precision and threads.
        precision: How the precision was decided, where that is not plain.
    """

    loader_images_per_s: float | None = None
    model_images_per_s: float | None = None
    train_images_per_s: float | None = None
    stall_share: float | None = None
    host_ms: float | None = None
    gather_images_per_s: float | None = None
    step_gflop: float | None = None
    peak_gflop_per_s: float | None = None
    bound_images_per_s: float | None = None
    published_images_per_s: float | None = None
    verdict: str
    batch_size: int
    image_size_px: int
    runtime: str
    precision: str = ""


def run_benchmark(
    kind: BenchKind,
    store_path: Path,
    config: Config,
    runtime: Runtime,
    *,
    num_batches: int = 30,
    residency: ResidencyChoice = "auto",
    advance: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """Measure.

    Args:
        kind: `loader`: the loader alone. `train`: training steps. `ceiling`: these two and the network alone.
        store_path: A packed store with a split.
        config: What to feed and train.
        runtime: Device and precision.
        num_batches: Batches on each clock, after a warm-up.
        residency: Where patches wait to be fed, as in training.
        advance: Told of batches done and to do.

    Raises:
        UsageError: The store or configuration is not what it should be.
    """
    data = open_run_data(store_path, config)
    runtime = settle(runtime, config)
    frame_px = training_frame(config, data.store.patch_size_px)
    memory = budget(residency, len(data.train_rows_N), data.store.patch_size_px, runtime, frame_px)
    pixels = make_pixel_source(data.store, data.train_rows_N, memory.residency, runtime, frame_px)
    result = _measure(kind, data, config, runtime, pixels, num_batches, advance)
    text = verdict(
        result.get("model_images_per_s"),
        result.get("train_images_per_s"),
        result.get("loader_images_per_s"),
        runtime,
        gather=result.get("gather_images_per_s"),
        bound=result.get("bound_images_per_s"),
    )
    return BenchResult(
        **result,
        verdict=text,
        batch_size=config.data.batch_size,
        image_size_px=config.data.image_size_px,
        runtime=runtime.describe(),
        precision=runtime.notice,
    )


def _measure(
    kind: BenchKind,
    data: RunData,
    config: Config,
    runtime: Runtime,
    pixels: Pixels,
    num_batches: int,
    advance: Callable[[int, int], None] | None,
) -> dict[str, float | None]:
    """Return the rates that belong to a kind of measurement, by their names in `BenchResult`."""
    tick = _ticker(advance, {"loader": 1, "train": 1, "ceiling": 3}[kind] * (num_batches + WARM_BATCHES))
    rates: dict[str, float | None] = {}
    with closing(train_loader(data.train, config, runtime, pixels=pixels)) as loader:
        batches = _endless(loader)
        if kind != "train":
            rates["loader_images_per_s"], *_ = _rate(batches, lambda _batch: None, num_batches, runtime, tick)
            rates["gather_images_per_s"] = _gather_rate(data, config, num_batches)
        if kind != "loader":
            step = training_step(config, runtime)
            if kind == "ceiling":
                same = _same(next(batches))
                rates["model_images_per_s"], *_ = _rate(same, step, num_batches, runtime, tick)
                rates |= _limits(functools.partial(step, next(same)), config.data.batch_size, runtime)
            names = ("train_images_per_s", "stall_share", "host_ms")
            rates |= zip(names, _rate(batches, step, num_batches, runtime, tick), strict=True)
    return rates


def verdict(
    model: float | None,
    train: float | None,
    loader: float | None,
    runtime: Runtime,
    *,
    gather: float | None = None,
    bound: float | None = None,
) -> str:
    """Return in words what limits training, and what to change.

    Args:
        model: Patches a second of the network alone.
        train: Of training.
        loader: Of the loader alone.
        runtime: Where it was measured.
        gather: Of reading alone.
        bound: Of the network at the device's peak.
    """
    if model is None or train is None or loader is None:
        return "run 'fastpath bench ceiling' to learn what limits training"
    share = min(1.0, train / model)  # above 1 it is the noise of two measurements
    at_peak = f", which is {model / bound:.0%} of the device's bound" if bound else ""
    faster = "a smaller data.image_size_px or model.trainable"
    faster += ", --amp" if runtime.precision == "float32" and not runtime.notice else ""
    if share >= GOOD_ENOUGH:
        return f"model-bound: training runs at {share:.0%} of the network's own rate{at_peak}; to go faster, {faster}"
    if share >= KEPT or loader > model / (1 - KEPT):
        shared = "; on a CPU both share the cores" if runtime.placement == "cpu" else ""
        return f"nearly model-bound: {share:.0%} of the network's own rate{at_peak}{shared}; to go faster, {faster}"
    if gather is not None and gather < loader / READING:
        return (
            f"input/output-bound: the store is read at {gather:.0f} patches/s, and training runs at {share:.0%} of the "
            "network's own rate; put the store on a faster disk, or let it fit in memory"
        )
    return (
        f"loader-bound: training runs at {share:.0%} of the network's own rate while the loader alone makes "
        f"{loader:.0f} patches/s; give it more --threads, or use data.augment.rotation_deg=0"
    )


def _gather_rate(data: RunData, config: Config, num_batches: int) -> float:
    """Return patches a second of reading alone: random rows that the loader was not asked for, where there are any."""
    size = config.data.batch_size
    order = np.random.default_rng(config.seed).permutation(data.train_rows_N)[: num_batches * size]
    began = time.perf_counter()
    for first in range(0, len(order), size):
        data.store.gather(order[first : first + size])
    return len(order) / (time.perf_counter() - began)


def _limits(step: Callable[[], object], batch_size: int, runtime: Runtime) -> dict[str, float | None]:
    """Return the arithmetic of a step and the rates it allows."""
    flop = roofline.step_flop(step) / batch_size
    peak = roofline.peak_flop_per_s(runtime)
    published = roofline.published_flop_per_s(runtime.describe(), mixed=runtime.precision != "float32")
    return {
        "step_gflop": flop / 1e9,
        "peak_gflop_per_s": peak / 1e9,
        "bound_images_per_s": peak / flop,
        "published_images_per_s": published / flop if published else None,
    }


def _rate(
    batches: Iterator[Batch], use: Callable[[Batch], object], count: int, runtime: Runtime, tick: Callable[[], None]
) -> tuple[float, float, float]:
    """Return patches a second, the share of time that the device was idle, and this thread's milliseconds a batch."""
    for _ in range(WARM_BATCHES):
        use(next(batches))
        tick()
    runtime.synchronize()
    images, began, host_began, clock = 0, time.perf_counter(), time.thread_time(), runtime.idle_clock()
    for _ in range(count):
        batch = clock.next(batches)
        use(batch)
        clock.step_done()
        images += len(batch.labels_N)
        tick()
    host_s = time.thread_time() - host_began
    runtime.synchronize()
    seconds = time.perf_counter() - began
    return images / seconds, clock.idle_s() / seconds, 1000 * host_s / count


def _endless(loader: TrainLoader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def _same(batch: Batch) -> Iterator[Batch]:
    """Yield a copy of one batch for ever, owned by torch as the network's input would be."""
    images = batch.images_NCHW.clone(memory_format=torch.channels_last)
    kept = Batch(images, batch.labels_N.clone(), batch.indices_N.clone())
    while True:
        yield kept


def _ticker(advance: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, total)

    return tick


def draw_benchmark(result: BenchResult, path: Path) -> None:
    """Draw the measured rates as bars into a PNG.

    Args:
        result: From `run_benchmark`.
        path: Where to write.
    """
    rates = {
        "reading alone": result.gather_images_per_s,
        "loader alone": result.loader_images_per_s,
        "network alone": result.model_images_per_s,
        "both": result.train_images_per_s,
        "the device's bound": result.bound_images_per_s,
    }
    size = f"{result.image_size_px} px, batch {result.batch_size}"
    picture = bench_rates.draw_rates(
        {name: rate for name, rate in rates.items() if rate is not None}, size, result.runtime
    )
    output_place.make_parent(path)
    write_durably(path, picture)
