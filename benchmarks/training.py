"""A training run's own loop, step by step, for whoever wants to time it: the one place that puts its parts together."""

from __future__ import annotations

from collections.abc import Iterator

from fastpath.config import Config
from fastpath.data.residency import Pixels, budget, make_pixel_source
from fastpath.data.step_parameters import training_frame
from fastpath.engine.loop import BatchSource, StepEvent, fit
from fastpath.engine.stages import Stage, build_stages
from fastpath.runs.run_data import RunData
from fastpath.runs.train_stages import make_state
from fastpath.runtime import Runtime
from fastpath.types import Batch

ENDLESS = 1 << 40  # steps of an epoch that nobody waits the end of


def first_stage(config: Config, data: RunData) -> Stage:
    """Return what a run does first."""
    return build_stages(config, len(data.train_rows_N))[0]


def placed(config: Config, data: RunData, runtime: Runtime) -> Pixels:
    """Return a run's training patches where a run would keep them."""
    patch_px = data.patches.patch_size_px
    frame_px = training_frame(first_stage(config, data).config, patch_px)
    residency = budget("auto", len(data.train_rows_N), patch_px, runtime, frame_px).residency
    return make_pixel_source(data.patches, data.train_rows_N, residency, runtime, frame_px)


def steps(config: Config, data: RunData, batches: Iterator[Batch], runtime: Runtime) -> Iterator[StepEvent]:
    """Yield after each training step on these batches, as a run of this configuration takes them in its first stage.

    Args:
        config: Of the run; its weights are random unless it names some.
        data: What the run is made of; its schedule's length follows from it.
        batches: Endless, on the runtime's device.
        runtime: Device and precision.
    """
    stages = build_stages(config, len(data.train_rows_N))
    state, settings = make_state(config, stages, data, runtime, None, data.store.path), stages[0].config
    source = BatchSource(lambda _epoch, _step: batches, (), ENDLESS)
    for event in fit(
        state,
        source,
        runtime,
        num_epochs=1,
        seed=settings.seed,
        label_smoothing=settings.train.label_smoothing,
        accumulate=settings.train.accumulate,
        cuda_graph=settings.train.cuda_graph,
    ):
        assert isinstance(event, StepEvent)
        yield event
