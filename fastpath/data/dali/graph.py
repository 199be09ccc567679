"""The DALI graph, one for CPU and CUDA: two operators for training, two for evaluation.

A policy that asks for blur, noise, JPEG artefacts or rings has them before these two: see `graph_artefacts`.

Training: `coord_transform` (colour jitter and normalisation, one affine map a sample, on the stored pixels) and
`warp_perspective` (crop, flips, turns, rotation and resize, one matrix a sample; its last row is 0 0 1, so the map is
affine, which this operator does in half the time of `warp_affine` on a CPU). Colour before geometry gives the same
result as after, both being linear, on 5.4 times fewer pixels at 224. The source is gathered into a black frame one
pixel wide, so that the warp's clamped borders show black as the colour jitter left it, as in torchvision, where
rotation comes before colour.

Evaluation: `crop_mirror_normalize` and the same warp, or `resize` where the output is smaller than the patch, because
a warp does not average.

Types: uint8 into `coord_transform`, float32 from there on. Both operators instantiate the same type lists on CPU and
GPU, so what runs on the one is supported on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from nvidia.dali import Pipeline, fn, pipeline_def, types
from nvidia.dali.pipeline import do_not_convert

from fastpath.config import AugmentConfig
from fastpath.data.augment.geometry import Canvas
from fastpath.data.dali import artefact_nodes
from fastpath.data.dali.artefact_nodes import Kind
from fastpath.data.step_inputs import Feed, StepFeed
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats

PIXELS, ROWS = ("HWC", types.UINT8), ("", types.INT64)
PLAIN = AugmentConfig(policy="none")
PREFETCH = 2  # batches in flight: one being made while one is being used


def training_graph(
    feed: StepFeed,
    first_step: int,
    layout: Canvas,
    batch_size: int,
    runtime: Runtime,
    policy: AugmentConfig = PLAIN,
) -> Pipeline:
    """Return a pipeline that yields (images float32 [N, H, W, 3] normalised, rows int64 [N]) from `first_step` on.

    Args:
        feed: From `source.training_feed`.
        first_step: The global step of the first batch.
        layout: How patches lie in what is warped.
        batch_size: The most samples this process sees in a step.
        runtime: Placement, device and threads.
        policy: Which artefacts are asked for.
    """
    kinds = [PIXELS] * (1 + (policy.ring_swap_p > 0)) + [ROWS, ("", types.FLOAT), ("", types.FLOAT)]
    border = "reflect" if layout.reflected else "replicate"

    def define(images: list[Any], matrices: Any, warp: Any, *extra: Any) -> Any:  # noqa: ANN401 (DALI's DataNode)
        patches = images[0]
        if policy.artefacts:
            patches = artefact_nodes.applied(policy, patches, images[-1], list(extra), layout.patch_px)
            if layout.frame_px:
                patches = fn.crop(patches, crop=[layout.framed_px] * 2, out_of_bounds_policy="pad", fill_values=0.0)
        normalised = fn.coord_transform(patches, MT=matrices, dtype=types.FLOAT)
        if layout.size_px != layout.framed_px:
            normalised = fn.resize(normalised, size=[layout.size_px] * 2, interp_type=types.INTERP_LINEAR)
        return _warped(normalised, warp, layout.output_px, border)

    kinds += artefact_nodes.kinds(policy)
    return _pipeline(feed, first_step, kinds, define, batch_size, runtime, conditional=policy.artefacts)


def evaluation_graph(
    feed: StepFeed, first_step: int, layout: Canvas, stats: ChannelStats, batch_size: int, runtime: Runtime
) -> Pipeline:
    """Return a pipeline that yields (images float32 [N, H, W, 3] normalised, rows int64 [N]) without augmentation.

    Args:
        feed: From `source.evaluation_feed`.
        first_step: The step of the first batch.
        layout: Sides of patch and output.
        stats: What to normalise with.
        batch_size: The most samples this process sees in a step.
        runtime: Placement, device and threads.
    """
    mean, std = [255 * value for value in stats.mean_3], [255 * value for value in stats.std_3]
    scale = layout.patch_px / layout.output_px

    def define(images: list[Any]) -> Any:  # noqa: ANN401 (DALI's DataNode)
        normalised = fn.crop_mirror_normalize(images[0], mean=mean, std=std, dtype=types.FLOAT, output_layout="HWC")
        if scale > 1:
            return fn.resize(normalised, size=[layout.output_px] * 2, interp_type=types.INTERP_LINEAR)
        return _warped(normalised, np.diag([scale, scale, 1.0]).ravel().tolist(), layout.output_px)

    return _pipeline(feed, first_step, [PIXELS, ROWS], define, batch_size, runtime)


def _warped(images: Any, matrix: Any, output_px: int, border: str = "replicate") -> Any:  # noqa: ANN401 (DALI's DataNode)
    return fn.experimental.warp_perspective(
        images,
        matrix=matrix,
        size=[output_px] * 2,
        border_mode=border,
        interp_type=types.INTERP_LINEAR,
    )


def _pipeline(
    feed: StepFeed,
    first_step: int,
    kinds: list[Kind],
    define: Callable[..., Any],
    batch_size: int,
    runtime: Runtime,
    *,
    conditional: bool = False,
) -> Pipeline:
    """Feed `define`'s graph. Iterations count on for ever, so the next epoch is prefetched while this one ends."""
    step_of = lru_cache(maxsize=1)(feed)  # on CUDA, images and parameters are asked for one after the other
    num_images = kinds.count(PIXELS)
    fed: Any = do_not_convert(_fed)  # what a feed computes is no part of the graph

    def nodes() -> Any:  # noqa: ANN401 (DALI's DataNodes)
        if runtime.placement == "gpu":
            # Copied by DALI on the stream that filled them, and so never before they are there nor after they are gone.
            images = fed(step_of, slice(num_images), first_step, kinds, runtime.loader_stream)
            rows, *parameters = fed(step_of, slice(num_images, None), first_step, kinds)
        else:
            everything = fed(feed, slice(None), first_step, kinds)
            images, (rows, *parameters) = everything[:num_images], everything[num_images:]
        return define(images, *parameters), rows

    build: Any = pipeline_def(nodes, enable_conditionals=conditional)
    pipeline: Pipeline = build(
        batch_size=batch_size,
        num_threads=runtime.num_threads,
        device_id=runtime.dali_device_id,
        prefetch_queue_depth=PREFETCH,
        exec_dynamic=True,
    )
    return pipeline


def _fed(
    feed: StepFeed,
    part: slice,
    first_step: int,
    kinds: list[Kind],
    stream: Any = None,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Return the nodes that a part of a feed fills: on the card, copied on `stream`, where one is given."""

    def source(info: Any) -> Feed:  # noqa: ANN401 (DALI's BatchInfo)
        return feed(first_step + info.iteration)[part]

    return fn.external_source(
        source=source,
        num_outputs=len(kinds[part]),
        device="cpu" if stream is None else "gpu",
        cuda_stream=stream,
        batch=True,
        batch_info=True,
        layout=[layout for layout, _ in kinds[part]],
        dtype=[dtype for _, dtype in kinds[part]],
    )
