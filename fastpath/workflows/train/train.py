"""Train a network on a packed store, into a run directory that can be resumed from any point."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastpath.config import Config
from fastpath.data.augment.geometry import centre_lost_share
from fastpath.data.loader import eval_loader
from fastpath.data.residency import Budget, ResidencyChoice, budget, make_pixel_source
from fastpath.data.step_parameters import training_frame
from fastpath.engine.checkpoint import MAY_CHANGE, Checkpoint, Provenance, check_provenance, load_checkpoint, snapshot
from fastpath.engine.guard import NonFiniteLossError
from fastpath.engine.loop import EpochEvent, Event, Timing, TrainState
from fastpath.engine.optim import MOVING_EACH_STEP
from fastpath.engine.schedule_lint import lint, planned_rates
from fastpath.engine.stages import Stage, build_stages, stage_at
from fastpath.errors import CheckpointError
from fastpath.figures import imprint
from fastpath.ingest.split import leak_notice
from fastpath.runs import best_epoch, output_place, training_appearance
from fastpath.runs import run_directory as directory
from fastpath.runs.mined_training import with_extra
from fastpath.runs.precision import settle
from fastpath.runs.run_data import RunData, check_classes, open_run_data, origin_of
from fastpath.runs.train_stages import make_state, train_stages
from fastpath.runtime import Runtime
from fastpath.store.format import hash_file
from fastpath.store.split_table import SplitTable
from fastpath.system import run_log
from fastpath.system.interrupts import interruptible
from fastpath.workflows.train import failure
from fastpath.workflows.train.ranks import asked_to_stop, together
from fastpath.workflows.train.saving import Saver
from fastpath.workflows.train.train_lines import StartEvent as StartEvent
from fastpath.workflows.train.train_lines import told_in_lines

Status = Literal["finished", "stopped early", "interrupted"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run_dir: Where everything lies.
        status: `finished`, `stopped early` (no better AUC for the configured epochs) or `interrupted` (Ctrl-C).
        epochs: Epochs completed.
        best_epoch: The 1-based epoch of `best.pt`; 0 where none was completed.
        best_auc: Its validation AUC; -1 where there is none.
        seconds: Wall time of this process's part.
        images_per_s: Training patches a second in this process's part, waiting included.
        stall_share: Share of training time that the device was idle between steps, 0 to 1.
        notices: What the reader of `best_auc` should know.
    """

    run_dir: Path
    status: Status
    epochs: int
    best_epoch: int
    best_auc: float
    seconds: float
    images_per_s: float
    stall_share: float
    notices: list[str] = field(default_factory=list)


def train_run(
    store_path: Path,
    run_dir: Path,
    config: Config,
    runtime: Runtime,
    *,
    resume: bool = False,
    split: SplitTable | None = None,
    split_file: Path | None = None,
    residency: ResidencyChoice = "auto",
    on_event: Callable[[StartEvent | Event], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainResult:
    """Train, validating and saving after every epoch. Nothing is written before all inputs are proven.

    As one rank of several, train on a share of each batch; rank 0 alone writes, and all return the same result. What is
    said meanwhile goes to the logger `fastpath` and, from the first step on, to the directory's `run.log`.

    Args:
        store_path: A packed store with a split.
        run_dir: Where to write; must not hold a run, unless resuming.
        config: Everything that decides the result; of a run that is resumed its own, but for `checkpoint.MAY_CHANGE`.
        runtime: Device and precision; one that is left open is decided here, by the run's own network.
        resume: Go on from the directory's `last.pt`, to the result of an uninterrupted run, or beyond it.
        split: Division to train and validate by; None reads it.
        split_file: Where to read it; None is the store's own or, resuming, where the run had it.
        residency: Where patches wait to be fed; decides nothing about the result.
        on_event: Told of the start, every step, validation batch and epoch, maybe before the files tell of it. Must not
            change what it is given.
        clock: Seconds since any moment, to save by; decides nothing about the result.

    Raises:
        UsageError: The store, configuration, directory or checkpoint is not what it should be.
    """
    with ExitStack() as stack:
        stack.enter_context(together(runtime, run_dir))
        stack.enter_context(runtime.repeatable(config.train.deterministic))
        stood = directory.standing(run_dir)
        if split is None:  # else one of several in a directory that was looked at
            runtime.rank_zero_first(lambda: output_place.check_new(run_dir))
        runtime.rank_zero_first(lambda: directory.check_vacancy(run_dir, resume=resume))
        split_file = split_file or (directory.split_file_of(run_dir) if resume else None)
        data = with_extra(open_run_data(store_path, config, split, split_file=split_file), config)
        check_classes(data)
        stages = build_stages(config, len(data.train_rows_N))
        origin = origin_of(data, config)
        checkpoint = _checkpoint(run_dir, origin) if resume else None
        runtime = settle(runtime, config, began=directory.precision_of(run_dir) if resume else "")
        rows_N = np.concatenate([data.train_rows_N, data.val_rows_N])
        runtime.release()  # what the fold before has left
        frame_px = max(training_frame(stage.config, data.patches.patch_size_px) for stage in stages)
        memory = budget(residency, len(np.unique(rows_N)), data.patches.patch_size_px, runtime, frame_px)
        state = make_state(config, stages, data, runtime, checkpoint, run_dir / directory.LAST)
        runtime.rank_zero_first(
            lambda: _claim(stack, run_dir, stood, origin, _facts(data, runtime, memory), state.epoch)
        )
        emit = told_in_lines(on_event, runtime)
        leaks = "" if split is not None else leak_notice(data.store, data.split)  # who gives a split tells it once
        emit(_start(state, data, stages, config, memory, runtime.notice, [leaks, _stretched(checkpoint, config)]))
        pixels = make_pixel_source(data.patches, rows_N, memory.residency, runtime, frame_px)
        val = stack.enter_context(closing(eval_loader(data.val, config, runtime, pixels=pixels)))
        try:
            with closing(train_stages(state, stages, data, val, runtime, pixels)) as events:
                saver = _saver(run_dir, lambda: snapshot(state, origin), config, stages, runtime, clock)
                result = _follow(events, state, run_dir, config, saver, emit, runtime)
        except NonFiniteLossError as error:
            if runtime.rank > 0:
                raise
            raise failure.record(run_dir, error, stages, data) from None
        labels_M = data.store.labels_N[data.val_rows_N]
        about_epoch = best_epoch.of_training(config, result.epochs, result.best_auc, labels_M)
        result = replace(result, notices=[*about_epoch, *filter(None, [data.extra_notice])])
        runtime.rank_zero_first(lambda: _finish(run_dir, result, data, config))
    return result


def _finish(run_dir: Path, result: TrainResult, data: RunData, config: Config) -> None:
    """Keep with the run what its patches look like, for who meets other tissue with it, and how it ended."""
    own_N = data.train_rows_N[data.train_rows_N < len(data.store)]  # those of mined patches come after the store's
    training_appearance.write(run_dir, training_appearance.look(data.store, own_N, config.seed))
    directory.finish(run_dir, asdict(result))


def _claim(
    stack: ExitStack, run_dir: Path, stood: directory.Standing, origin: Provenance, facts: dict[str, Any], epoch: int
) -> None:
    """Make the run's directory this process's own for as long as the stack lives, and write down what begins."""
    stack.enter_context(directory.claimed(run_dir, stood))
    stack.enter_context(run_log.kept_in(run_dir))
    directory.begin(run_dir, origin, facts)
    stack.enter_context(directory.failing(run_dir))
    directory.rewind(run_dir, epoch)


def _saver(
    run_dir: Path,
    snapshot: Callable[[], Checkpoint],
    config: Config,
    stages: Sequence[Stage],
    runtime: Runtime,
    clock: Callable[[], float],
) -> Saver:
    num = config.train.epochs
    title = f"{run_dir.resolve().name}: {config.model.name}, {num} epoch{'s' if num != 1 else ''}, {imprint.written()}"
    title += ", validation patches are trained on too" if config.train.include_val else ""
    minutes = config.train.checkpoint_minutes
    return Saver(run_dir, snapshot, runtime, minutes=minutes, title=title, stages=stages, clock=clock)


def _follow(
    events: Iterator[Event],
    state: TrainState,
    run_dir: Path,
    config: Config,
    saver: Saver,
    emit: Callable[[Event], None],
    runtime: Runtime,
) -> TrainResult:
    """Save, tell and stop as the events of training ask for."""
    began = time.perf_counter()
    timings: list[Timing] = []
    patience = config.train.early_stop_epochs
    status: Status = "finished"
    # A first Ctrl-C is held back until all is written, too.
    with interruptible(patient=runtime.world_size > 1) as interrupted, saver:
        while state.epoch < config.train.epochs:
            if patience and state.epochs_since_best >= patience:
                status = "stopped early"
                break
            event = next(events)
            if isinstance(event, EpochEvent):
                timings.append(event.timing)
            saver.after(event)
            emit(event)
            if asked_to_stop(interrupted(), event, runtime):
                saver.save()
                status = "interrupted"
                break
    total = Timing(sum(t.num_images for t in timings), sum(t.train_s for t in timings), sum(t.wait_s for t in timings))
    return TrainResult(
        run_dir=run_dir,
        status=status,
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        best_auc=state.best_auc,
        seconds=time.perf_counter() - began,
        images_per_s=total.images_per_s,
        stall_share=total.stall_share,
    )


def _checkpoint(run_dir: Path, origin: Provenance) -> Checkpoint | None:
    """Return where the run stands, None where it was stopped before its first checkpoint."""
    path = run_dir / directory.LAST
    if not path.exists():
        directory.check_config(run_dir, origin.config, MAY_CHANGE)
        return None
    checkpoint = load_checkpoint(path)
    check_provenance(checkpoint, path, origin)
    wanted, begun = int(origin.config["train"]["epochs"]), checkpoint.epoch + (checkpoint.step > 0)
    if wanted < begun:
        problem = f"found {wanted}, and the run in '{run_dir}' is in epoch {begun} or past it"
        raise CheckpointError("train.epochs", problem, f"give {begun} or more, or train into a new directory")
    return checkpoint


def _stretched(checkpoint: Checkpoint | None, config: Config) -> str:
    """Return what there is to say where a run goes on to another number of epochs than it began with."""
    began = None if checkpoint is None else checkpoint.config.get("train", {}).get("epochs")
    num, schedule = config.train.epochs, config.schedule
    if began in (None, num):
        return ""
    spans = schedule.kind in MOVING_EACH_STEP or (schedule.kind == "cosine" and not schedule.t_max_epochs)
    text = f"; from here on the {schedule.kind} schedule is that of {num} epochs" if spans else ""
    return f"the run goes on to {num} epochs, in place of {began}{text}"


def _start(
    state: TrainState,
    data: RunData,
    stages: Sequence[Stage],
    config: Config,
    memory: Budget,
    precision: str,
    notes: Sequence[str],
) -> StartEvent:
    policies = {(stage.config.data.augment, stage.config.data.image_size_px) for stage in stages}
    parameters = list(state.model.parameters())
    return StartEvent(
        num_train=len(data.train_rows_N),
        num_val=len(data.val_rows_N),
        num_epochs=config.train.epochs,
        num_steps=stage_at(stages, state.epoch).num_steps,
        epoch=state.epoch,
        step=state.step,
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        centre_lost_share=max(centre_lost_share(policy, data.store.patch_size_px, size) for policy, size in policies),
        rates=planned_rates(stages),
        warnings=(
            *lint(stages, config.train),
            *filter(None, [best_epoch.TRAINED_ON if config.train.include_val else "", *notes]),
        ),
        memory=memory.describe(),
        precision=precision,
    )


def _facts(data: RunData, runtime: Runtime, memory: Budget) -> dict[str, Any]:
    """Return what `run.json` tells beside the result."""
    return {
        "store": data.store.place,
        "split_file": None if data.store.split_file is None else str(data.store.split_file.resolve()),
        "split_hash": hash_file(data.store.split_path, follow=True) if data.store.split_path.exists() else None,
        "split_kind": data.split.kind,
        "split_seed": data.split.seed,
        "split_fold": data.split.fold if data.split.num_folds else None,
        "num_train": len(data.train_rows_N),
        "num_val": len(data.val_rows_N),
        "runtime": runtime.describe(),
        "threads": runtime.summing_threads,
        "precision": runtime.precision,
        "precision_notice": runtime.notice,
        "memory": asdict(memory),
    }
