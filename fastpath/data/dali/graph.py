"""The DALI graph, one for CPU and CUDA: two operators for training, two for evaluation.

A policy that asks for blur, noise, JPEG artefacts or rings has them before these two: see `artefact_nodes`.

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

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from nvidia.dali import Pipeline, fn, pipeline_def, types
from nvidia.dali.pipeline import do_not_convert

from fastpath.config import AugmentConfig
from fastpath.data.augment import artefacts
from fastpath.data.augment.artefacts import Kind
from fastpath.data.augment.geometry import WarpLayout
from fastpath.data.dali import artefact_nodes
from fastpath.data.step_inputs import PARTNERS, PATCHES, StepFeed
from fastpath.data.step_parameters import COLOUR, ROWS, WARP
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats

PIXELS: Kind = ("HWC", np.uint8)
EVALUATED: Mapping[str, Kind] = {PATCHES: PIXELS, ROWS: ("", np.int64)}
TRAINED: Mapping[str, Kind] = {**EVALUATED, COLOUR: ("", np.float32), WARP: ("", np.float32)}
"""What a graph is fed, by the names of `step_inputs.StepInputs`: layout and type of one sample's entry."""

DALI_TYPES = {
    np.uint8: types.UINT8,
    np.int8: types.INT8,
    np.int32: types.INT32,
    np.int64: types.INT64,
    np.float32: types.FLOAT,
    np.bool_: types.BOOL,
}
PLAIN = AugmentConfig(policy="none")
PREFETCH = 2  # batches in flight: one being made while one is being used


def training_graph(
    feed: StepFeed,
    first_step: int,
    layout: WarpLayout,
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
    border = "reflect" if layout.reflected else "replicate"
    partners = {PARTNERS: PIXELS} if policy.ring_swap_p else {}

    def build(fed: dict[str, Any]) -> Any:  # noqa: ANN401 (DALI's DataNode)
        patches = fed[PATCHES]
        if policy.artefacts:
            patches = artefact_nodes.applied(policy, patches, fed, layout.patch_px)
            if layout.frame_px:
                patches = fn.crop(patches, crop=[layout.framed_px] * 2, out_of_bounds_policy="pad", fill_values=0.0)
        normalised = fn.coord_transform(patches, MT=fed[COLOUR], dtype=types.FLOAT)
        if layout.size_px != layout.framed_px:
            normalised = fn.resize(normalised, size=[layout.size_px] * 2, interp_type=types.INTERP_LINEAR)
        return _warped(normalised, fed[WARP], layout.output_px, border)

    inputs = {**TRAINED, **partners, **artefacts.kinds(policy)}
    return _pipeline(feed, first_step, inputs, build, batch_size, runtime, conditional=policy.artefacts)


def evaluation_graph(
    feed: StepFeed, first_step: int, layout: WarpLayout, stats: ChannelStats, batch_size: int, runtime: Runtime
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

    def build(fed: dict[str, Any]) -> Any:  # noqa: ANN401 (DALI's DataNode)
        normalised = fn.crop_mirror_normalize(fed[PATCHES], mean=mean, std=std, dtype=types.FLOAT, output_layout="HWC")
        if scale > 1:
            return fn.resize(normalised, size=[layout.output_px] * 2, interp_type=types.INTERP_LINEAR)
        return _warped(normalised, np.diag([scale, scale, 1.0]).ravel().tolist(), layout.output_px)

    return _pipeline(feed, first_step, EVALUATED, build, batch_size, runtime)


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
    inputs: Mapping[str, Kind],
    build: Callable[[dict[str, Any]], Any],
    batch_size: int,
    runtime: Runtime,
    *,
    conditional: bool = False,
) -> Pipeline:
    """Return the pipeline of `build`'s graph. Iterations go on for ever: the next epoch is made as this one ends."""
    sources: list[tuple[StepFeed, list[str], Any]] = [(feed, list(inputs), None)]
    if runtime.placement == "gpu":
        twice = lru_cache(maxsize=1)(feed)  # a step is asked for by either source, and made once
        images = [name for name in (PATCHES, PARTNERS) if name in inputs]
        others = [name for name in inputs if name not in images]
        # Copied by DALI on the stream that filled them, and so never before they are there nor after they are gone.
        sources = [(twice, images, runtime.loader_stream), (twice, others, None)]

    def nodes() -> Any:  # noqa: ANN401 (DALI's DataNodes)
        fed: dict[str, Any] = {}
        for source, names, stream in sources:
            fed |= _nodes_of(source, names, first_step, inputs, stream)
        return build(fed), fed[ROWS]

    made: Any = pipeline_def(nodes, enable_conditionals=conditional)
    pipeline: Pipeline = made(
        batch_size=batch_size,
        num_threads=runtime.num_threads,
        device_id=runtime.dali_device_id,
        prefetch_queue_depth=PREFETCH,
        exec_dynamic=True,
    )
    return pipeline


# A conditional graph is rewritten, function by function; what a feed computes is no part of it.
@do_not_convert  # type: ignore[untyped-decorator]
def _nodes_of(
    feed: StepFeed,
    names: Sequence[str],
    first_step: int,
    inputs: Mapping[str, Kind],
    stream: Any,  # noqa: ANN401 (a CUDA stream)
) -> dict[str, Any]:
    """Return the nodes that some of a feed's values fill: on the card, copied on `stream`, where one is given."""

    def source(info: Any) -> tuple[Any, ...]:  # noqa: ANN401 (DALI's BatchInfo)
        fed = feed(first_step + info.iteration)
        return tuple(fed[name] for name in names)

    nodes = fn.external_source(
        source=source,
        num_outputs=len(names),
        device="cpu" if stream is None else "gpu",
        cuda_stream=stream,
        batch=True,
        batch_info=True,
        layout=[inputs[name][0] for name in names],
        dtype=[DALI_TYPES[inputs[name][1]] for name in names],
    )
    return dict(zip(names, nodes, strict=True))
