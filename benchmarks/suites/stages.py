"""Where a training batch's time goes, and what other ways of building the graph would cost.

Each row is a pipeline of its own on the same feed, run in turn; the cost of a stage is the difference between rows.

Usage: python -m benchmarks.suites.stages [--folder KAGGLE_FOLDER] [--size 224] [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from nvidia.dali import Pipeline, fn, math, types

from benchmarks import harness
from benchmarks.peers.common import CROP_RATIO, CROP_SCALE, MEAN, ROTATION_DEG, STD
from fastpath.config import Config, DataConfig
from fastpath.data import step_inputs
from fastpath.data.augment.geometry import WarpLayout
from fastpath.data.step_inputs import StepFeed
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats, Samples
from fastpath.workflows import pack

BATCH, WARM, BATCHES = 64, 4, 20
Define = Callable[[Any, Any, Any, WarpLayout], Any]


def _gather(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    return images


def _colour(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    return fn.coord_transform(images, MT=colour, dtype=types.FLOAT)


def _warped(images: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    size = [layout.output_px] * 2
    return fn.experimental.warp_perspective(
        images, matrix=warp, size=size, border_mode="replicate", interp_type=types.INTERP_LINEAR
    )


def _warp_affine(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    return fn.warp_affine(
        _colour(images, colour, warp, layout),
        matrix=fn.slice(warp, 0, 2, axes=[0]),
        size=[layout.output_px] * 2,
        interp_type=types.INTERP_LINEAR,
    )


def _as_built(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    return _warped(_colour(images, colour, warp, layout), warp, layout)


def _clamped(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    low, high = (np.array([(end - m) / s for m, s in zip(MEAN, STD, strict=True)], np.float32) for end in (0.0, 1.0))
    bounds = types.Constant(low, device="cpu"), types.Constant(high, device="cpu")
    return _warped(math.clamp(_colour(images, colour, warp, layout), *bounds), warp, layout)


def _through_bytes(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    clamped = fn.coord_transform(images, MT=colour, dtype=types.UINT8)
    warped = _warped(clamped, warp, layout)
    mean, std = [255 * m for m in MEAN], [255 * s for s in STD]
    return fn.crop_mirror_normalize(warped, mean=mean, std=std, output_layout="HWC", dtype=types.FLOAT)


def _colour_last(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    return fn.coord_transform(_warped(images, warp, layout), MT=colour, dtype=types.FLOAT)


def _rotate_and_resize(images: Any, colour: Any, warp: Any, layout: WarpLayout) -> Any:  # noqa: ANN401
    angle = fn.random.uniform(range=[-ROTATION_DEG, ROTATION_DEG])
    turned = fn.rotate(
        fn.flip(_colour(images, colour, warp, layout), horizontal=fn.random.coin_flip()),
        angle=angle,
        keep_size=True,
        interp_type=types.INTERP_LINEAR,
    )
    return fn.random_resized_crop(
        turned,
        size=[layout.output_px] * 2,
        random_area=CROP_SCALE,
        random_aspect_ratio=CROP_RATIO,
        interp_type=types.INTERP_LINEAR,
        antialias=False,
    )


VARIANTS: dict[str, Define] = {
    "gather only": _gather,
    "gather, colour and normalise": _colour,
    "as built": _as_built,
    "warp_affine in place of warp_perspective": _warp_affine,
    "flip, rotate, crop and resize in place of the warp": _rotate_and_resize,
    "as built, clamped after colour": _clamped,
    "bytes between the stages": _through_bytes,
    "colour after the warp": _colour_last,
}


def build(build_nodes: Define, feed: StepFeed, layout: WarpLayout, threads: int) -> Pipeline:
    """Return a CPU pipeline on the training feed with another graph behind it."""
    pipeline = Pipeline(BATCH, threads, None, prefetch_queue_depth=2, exec_dynamic=True)
    kinds = [types.UINT8, types.INT64, types.FLOAT, types.FLOAT]
    with pipeline:
        images, rows, colour, warp = fn.external_source(
            source=lambda info: tuple(feed(info.iteration)[name] for name in ("patches", "rows", "colour", "warp")),
            num_outputs=4,
            batch=True,
            batch_info=True,
            layout=["HWC", "", "", ""],
            dtype=kinds,
        )
        pipeline.set_outputs(build_nodes(images, colour, warp, layout), rows, colour, warp)
    return pipeline


def rate(step: Callable[[], object]) -> float:
    """Return patches a second of something that makes one batch a call."""
    for _ in range(WARM):
        step()
    began = time.perf_counter()
    for _ in range(BATCHES):
        step()
    return BATCHES * BATCH / (time.perf_counter() - began)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--size", type=int, default=224, show_default=True, help="Side of the output, in pixels.")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--threads", type=int, default=2, show_default=True)
def main(folder: Path | None, size: int, rounds: int, threads: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    config = Config(data=DataConfig(image_size_px=size, batch_size=BATCH))
    runtime = resolve("cpu", num_threads=threads)
    with tempfile.TemporaryDirectory() as scratch:
        pack.pack_source(folder, Path(scratch) / "store")
        store = open_store(Path(scratch) / "store")
        rows, stats = np.arange(len(store) // BATCH * BATCH), ChannelStats(MEAN, STD)
        feed = step_inputs.training_feed(Samples(store, rows, stats), config, runtime)
        layout = step_inputs.training_layout(store.patch_size_px, config)
        steps = iter(range(10**9))
        runs = {"feed, no graph": functools.partial(rate, lambda: feed(next(steps)))}
        for name, build_nodes in VARIANTS.items():
            runs[name] = functools.partial(rate, build(build_nodes, feed, layout, threads).run)
        figures = harness.alternate(runs, rounds)
    base = harness.summary(figures["as built"])["median"]
    table = ["| pipeline | patches/s, median (min to max) | µs a patch | against as built |", "|---|---|---|---|"]
    for name, values in figures.items():
        summary = harness.summary(values)
        spread = f"{summary['median']:.0f} ({summary['min']:.0f} to {summary['max']:.0f})"
        table.append(f"| {name} | {spread} | {1e6 / summary['median']:.0f} | {summary['median'] / base:.2f}x |")
    click.echo("\n".join(table))
    settings = {"image_size_px": size, "batch_size": BATCH, "threads": threads, "rounds": rounds, "batches": BATCHES}
    path = harness.write_record(f"stages-{size}", settings, {"images_per_s": figures}, "\n".join(table))
    click.echo(f"→ {path}")


if __name__ == "__main__":
    main()
