"""A run's stages, one after the other: what is trained in each, and with which batches."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from fastpath.config import Config
from fastpath.data.loader import train_loader
from fastpath.data.residency import Pixels
from fastpath.engine.checkpoint import Checkpoint, flat, restore_state
from fastpath.engine.ema import ModelEMA
from fastpath.engine.loop import BatchSource, Event, TrainState, fit
from fastpath.engine.optim import Schedule, make_optimizer, make_schedule, wind_on
from fastpath.engine.stages import Stage, begins_phase, phase_of, stage_at
from fastpath.errors import ConfigError
from fastpath.model.batchnorm import recalibrate, synchronise
from fastpath.model.depthwise import pad_first
from fastpath.model.fold import fold_frozen
from fastpath.model.freeze import LogitNetwork, freeze, parameter_groups
from fastpath.model.lean import lean
from fastpath.model.probe import probe
from fastpath.model.registry import build, restore
from fastpath.runs.run_data import RunData
from fastpath.runtime import Runtime
from fastpath.types import Batch

COMPILED_SIZES = 64  # sizes of input and of batch that a run's stages may bring


def make_state(
    config: Config, stages: Sequence[Stage], data: RunData, runtime: Runtime, checkpoint: Checkpoint | None, path: Path
) -> TrainState:
    """Make the network and all that trains it, fresh or as the checkpoint left it.

    Args:
        config: Of the run.
        stages: Its stages.
        data: What it will train on.
        runtime: Device and precision.
        checkpoint: Where to go on from; None begins.
        path: The checkpoint's file, for an error.

    Raises:
        ConfigError: The network cannot be made or compiled, or does not take a stage's size of input.
        CheckpointError: The checkpoint is of another network.
    """
    runtime.seed(config.seed)
    if checkpoint is None:
        model = build(config.model, config.data.image_size_px)
    else:
        model = restore(config.model, config.data.image_size_px, checkpoint.model, path)
    runtime.prepare(model)
    _check_stages(model, config.data.image_size_px, stages, len(data.train_rows_N), runtime)
    if checkpoint is None and config.model.recalibrate:
        recalibrate(model, _first_images(config.model.recalibrate, data, stages[0], runtime))
    epoch, step = (checkpoint.epoch, checkpoint.step) if checkpoint else (0, 0)
    network, optimizer, schedule = _make_network_and_optimizer(model, stages, stage_at(stages, epoch), runtime)
    state = TrainState(
        model=model,
        network=network,
        optimizer=optimizer,
        schedule=schedule,
        scaler=runtime.grad_scaler(),
        loss_sum=torch.zeros((), dtype=torch.float64, device=runtime.device),
        num_skipped=torch.zeros((), device=runtime.device),
    )
    if config.train.ema_decay:
        state.average = ModelEMA(model, config.train.ema_decay)
    if checkpoint is not None:
        new = begins_phase(stages, epoch, step)
        longer = flat(checkpoint.config).get("train.epochs") != config.train.epochs  # then there is one stage
        wound = not new and longer and wind_on(schedule, epoch, epoch * stages[0].num_steps + step)
        restore_state(checkpoint, state, path, new_optimizer=new, new_schedule=wound)
    return state


def train_stages(
    state: TrainState,
    stages: Sequence[Stage],
    data: RunData,
    val_batches: Iterable[Batch],
    runtime: Runtime,
    pixels: Pixels | None = None,
) -> Generator[Event, None, None]:
    """Train from where `state` stands to the end of the last stage.

    Args:
        state: Changed in place.
        stages: The run's stages.
        data: What it trains on.
        val_batches: Validation batches, anew at each iteration; the same for every stage.
        runtime: Device and precision.
        pixels: Where the patches are; None reads them from the store.
    """
    made = stage_at(stages, state.epoch).phase
    for stage in stages:
        if state.epoch >= stage.end_epoch:
            continue
        if stage.phase != made:
            assert isinstance(state.model, LogitNetwork)
            state.network, state.optimizer, state.schedule = _make_network_and_optimizer(
                state.model, stages, stage, runtime
            )
            if state.average is not None:
                state.average.follow(state.model)
            made = stage.phase
        with closing(train_loader(data.train, stage.config, runtime, pixels=pixels)) as train:
            yield from fit(
                state,
                BatchSource(train.epoch, val_batches, train.num_steps),
                runtime,
                num_epochs=stage.end_epoch,
                seed=stage.config.seed,
                label_smoothing=stage.config.train.label_smoothing,
                accumulate=stage.config.train.accumulate,
                cuda_graph=stage.config.train.cuda_graph,
            )


def _first_images(count: int, data: RunData, stage: Stage, runtime: Runtime) -> Iterator[Tensor]:
    """Yield the images of a stage's first batches, whole ones on every rank, so that all see the same."""
    alone = replace(runtime, rank=0, world_size=1)
    with closing(train_loader(data.train, stage.config, alone)) as train:
        for batch in islice(train.epoch(0), count):
            yield batch.images_NCHW


def _make_network_and_optimizer(
    model: LogitNetwork, stages: Sequence[Stage], stage: Stage, runtime: Runtime
) -> tuple[nn.Module, torch.optim.Optimizer, Schedule]:
    """Freeze the model as a stage asks and make what trains it: the network, the optimiser and its schedule."""
    config, phase = stage.config, phase_of(stages, stage.phase)
    freeze(model, config.model.trainable, config.model.batchnorm)
    if config.train.sync_batchnorm and runtime.world_size > 1:
        synchronise(model.train(), runtime.all_reduce_sum)
    network = training_network(model, config, runtime)
    optimizer = make_optimizer(*parameter_groups(model), config.optim, phase[0].config.data.batch_size)
    schedule = make_schedule(
        optimizer,
        config.schedule,
        num_epochs=phase[-1].end_epoch - phase[0].first_epoch,
        total_steps=sum(each.num_steps * (each.end_epoch - each.first_epoch) for each in phase),
    )
    return network, optimizer, schedule


def training_network(model: LogitNetwork, config: Config, runtime: Runtime) -> nn.Module:
    """Return what is trained in a model's place, with its trained parameters: folded, made lean, compiled."""
    size = config.data.image_size_px
    folded = fold_frozen(model, size) if config.model.batchnorm == "folded" else model
    network = lean(pad_first(folded), size, runtime)
    return _compiled(network) if config.train.compile else network


def _compiled(network: nn.Module) -> nn.Module:
    """Return the network compiled: in its first step, so that only a compiler that is not there is told of here.

    Raises:
        ConfigError: The network is on the CPU and this machine has no C++ compiler.
    """
    named = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # as torch looks for it
    if next(network.parameters()).device.type == "cpu" and shutil.which(shlex.split(named)[0]) is None:
        problem = f"found no C++ compiler '{named}', which torch.compile needs on the CPU"
        raise ConfigError("train.compile", problem, "install g++ or set CXX, or use train.compile=false")
    # Each size for itself, in place of generic kernels from the second on: stages bring more than torch would keep.
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, COMPILED_SIZES)
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]


def _check_stages(model: LogitNetwork, made_px: int, stages: Sequence[Stage], num_train: int, runtime: Runtime) -> None:
    """Refuse stages that the network cannot train in, before hours go into the first.

    Raises:
        ConfigError: It does not take a stage's size, has no module of a stage's name, or cannot learn from as few
            patches as a stage's last step has.
    """
    for stage in stages:
        config = stage.config
        probe(model, config.model.name, made_px, stage_px=config.data.image_size_px)
        freeze(model, config.model.trainable, config.model.batchnorm)
        least = _least_part(num_train, config, runtime.world_size)
        if least < model.least_batch:
            problem = (
                f"found 1 patch at once in an epoch's last step ({num_train} patches), wanted {model.least_batch}: "
                f"BatchNorm of '{config.model.name}' sees one place a patch, which has no variance"
            )
            raise ConfigError("data.batch_size", problem, "use another batch size, or model.batchnorm=frozen")


def _least_part(num_train: int, config: Config, world_size: int) -> int:
    """Return the fewest patches that go through the network at once: on a rank that has any, in a part that has any."""
    batch_size, accumulate = config.data.batch_size, config.train.accumulate
    steps = {min(batch_size, num_train), num_train - (num_train - 1) // batch_size * batch_size}
    sizes = {size for length in steps for size in (length // world_size, -(-length // world_size)) if size}
    return max(1, min(sizes, default=1) // accumulate)
