"""A training run's whole state in one file, which names the data and configuration it belongs to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastpath.engine import form, migrations
from fastpath.engine.archive import read_archive, tensors, write_archive
from fastpath.engine.loop import TrainState
from fastpath.errors import CheckpointError, memory_exhausted
from fastpath.text import brief

_LOGGER = logging.getLogger(__name__)
FORMAT = "fastpath-checkpoint"
PROGRESS = ("epoch", "step", "best_auc", "best_epoch", "epochs_since_best", "num_seen")
"""Plain numbers that a `Checkpoint` and a `TrainState` have under the same name."""
MAY_CHANGE = ("train.epochs", "train.early_stop_epochs", "train.checkpoint_minutes", "train.cuda_graph")
"""Keys that a run may go on with other values of: how far, when it stops and saves, how a step is launched. Any
other would make it a run that no configuration describes."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a run is made of: whatever goes on with it or uses its weights needs these, and no other file.

    Attributes:
        config: `Config.to_dict()` of the run.
        store_fingerprint: Of the packed store it trains on.
        split_fingerprint: Of the rows it trains and validates on.
        mean_3: Channel means that images are normalised with, in units of 0 to 1.
        std_3: Channel standard deviations, likewise.
        patch_size_px: Height and width of the store's patches.
        classes: What labels 0 and 1 are called.
        software: Versions of what decides the numbers, by distribution; `fastpath` among them.
        extra_fingerprint: Of the table `data.extra`; empty where there is none.
        stain: How the stains of its patches were normalised, `none` where they were not.
    """

    config: dict[str, Any]
    store_fingerprint: str = field(metadata=form.FINGERPRINT)
    split_fingerprint: str = field(metadata=form.FINGERPRINT)
    mean_3: tuple[float, float, float] = field(metadata=form.THREE_MEANS)
    std_3: tuple[float, float, float] = field(metadata=form.THREE_DEVIATIONS)
    patch_size_px: int = field(metadata=form.PATCH_SIZE)
    classes: tuple[str, str] = field(metadata=form.TWO_NAMES)
    software: dict[str, str] = field(metadata=form.VERSIONS)
    extra_fingerprint: str = field(metadata=form.FINGERPRINT, default="", kw_only=True)
    stain: str = field(metadata=form.STAIN, default="none", kw_only=True)


@dataclass(frozen=True, slots=True)
class Checkpoint(Provenance):
    """Where a run stands. Nothing but tensors and plain values, so that it loads without running code.

    Attributes:
        epoch: Epochs completed, and the 0-based number of the one under way.
        step: Steps completed in the epoch under way.
        best_auc: Highest validation AUC so far, 0 to 1; -1 before the first.
        best_epoch: The 1-based epoch of `best_auc`; 0 before the first.
        epochs_since_best: Epochs completed since then.
        loss_sum: float64 [], sum of the training losses of the epoch under way, over patches.
        num_seen: Patches trained on in the epoch under way.
        model: State dict of the network, BatchNorm statistics included.
        optimizer: State dict of the optimiser.
        schedule: State dict of the learning-rate schedule.
        scaler: State dict of the loss scaler; empty where it was disabled.
        num_skipped: float32 [], steps of the epoch under way that the loss scaler skipped.
        average: State dict of the averaged network; empty where none was kept.
        num_averaged: Steps that it follows.
    """

    epoch: int = field(metadata=form.COUNT)
    step: int = field(metadata=form.COUNT)
    best_auc: float = field(metadata=form.BEST_AUC)
    best_epoch: int = field(metadata=form.COUNT)
    epochs_since_best: int = field(metadata=form.COUNT)
    loss_sum: Tensor = field(metadata=form.SUM)
    num_seen: int = field(metadata=form.COUNT)
    model: dict[str, Tensor] = field(metadata=form.WEIGHTS)
    optimizer: dict[str, Any] = field(metadata=form.STATE)
    schedule: dict[str, Any] = field(metadata=form.NO_NAN)
    scaler: dict[str, Any] = field(metadata=form.STATE)
    num_skipped: Tensor = field(metadata=form.SUM, default_factory=lambda: torch.zeros(()))
    average: dict[str, Tensor] = field(metadata=form.WEIGHTS, default_factory=dict)
    num_averaged: int = field(metadata=form.COUNT, default=0)

    @property
    def weights(self) -> dict[str, Tensor]:
        """State dict of the network to score with: the averaged one where there is one."""
        return self.average or self.model


def snapshot(state: TrainState, origin: Provenance) -> Checkpoint:
    """Describe a training state, sharing its tensors: save it before training goes on."""
    return Checkpoint(
        **{field.name: getattr(origin, field.name) for field in fields(Provenance)},
        **{name: getattr(state, name) for name in PROGRESS},
        loss_sum=state.loss_sum,
        model=state.model.state_dict(),
        optimizer=state.optimizer.state_dict(),
        schedule=state.schedule.scheduler.state_dict(),
        scaler=state.scaler.state_dict(),
        num_skipped=state.num_skipped,
        average=state.average.model.state_dict() if state.average else {},
        num_averaged=state.average.num_updates if state.average else 0,
    )


def restore_state(
    checkpoint: Checkpoint,
    state: TrainState,
    location: object = "checkpoint",
    *,
    new_optimizer: bool = False,
    new_schedule: bool = False,
) -> None:
    """Bring a freshly made training state to where the checkpoint stands; its model is loaded already.

    Args:
        checkpoint: Where the run stands.
        state: Changed in place.
        location: The checkpoint's file, for an error.
        new_optimizer: The optimiser and its schedule are to begin here, so the saved ones are of no more use.
        new_schedule: The schedule is of another length than the saved one, and stands where it has to already.

    Raises:
        CheckpointError: The optimiser's or the schedule's state is of another network or kind; names `location`.
    """
    try:
        if not new_optimizer:
            _check_form(checkpoint, state, location)
            scheduled = [
                {key: group[key] for key in group if key != "params"} for group in state.optimizer.param_groups
            ]
            state.optimizer.load_state_dict(checkpoint.optimizer)
            if new_schedule:
                for group, rates in zip(state.optimizer.param_groups, scheduled, strict=True):
                    group.update(rates)
            else:
                state.schedule.scheduler.load_state_dict(checkpoint.schedule)
        if checkpoint.scaler:  # empty when saved in another precision; the scale is then found anew
            state.scaler.load_state_dict(checkpoint.scaler)
        if state.average is not None:
            state.average.load(checkpoint.average, checkpoint.num_averaged)
    # torch takes what is of another form apart before it looks at it.
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        if memory_exhausted(error) is not None:
            raise
        problem = f"its optimiser, schedule, scaler or average is of another network or kind ({brief(error, 160)})"
        raise CheckpointError(location, problem, "train again, or restore a copy") from None
    state.loss_sum.copy_(checkpoint.loss_sum)
    state.num_skipped.copy_(checkpoint.num_skipped)
    for name in PROGRESS:
        setattr(state, name, getattr(checkpoint, name))


def _check_form(checkpoint: Checkpoint, state: TrainState, location: object) -> None:
    """Refuse states that torch would take without a look: it checks no shape and no name of them."""
    problem = ""
    states, wanted = checkpoint.optimizer, state.optimizer.state_dict()
    if checkpoint.schedule.keys() != state.schedule.scheduler.state_dict().keys():
        problem = "the schedule is of another kind"
    elif states.keys() != wanted.keys() or list(map(_form, states["param_groups"])) != list(
        map(_form, wanted["param_groups"])
    ):
        problem = "the optimiser's parameter groups are of another optimiser or network"
    else:
        parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
        for name, tensor in tensors(states["state"]):
            number = int(name.partition(".")[0])
            shape = parameters[number].shape if number < len(parameters) else None
            if tensor.dim() and tensor.shape != shape:
                problem = f"the optimiser's state {name} has another shape: found {tuple(tensor.shape)}, wanted {shape}"
                break
    if problem:
        raise CheckpointError(location, problem, "train again, or restore a copy")


def _form(group: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    return sorted(group), list(group["params"])


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint so that `path` holds the old one or the new one, whenever the process dies.

    Raises:
        FastpathError: It cannot be written, as on a full disk; `path` holds what it held before.
    """
    values = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    write_archive({"format": FORMAT, "version": migrations.VERSION, **values}, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, of this version or of one that can be migrated. Runs and trusts nothing of it.

    Raises:
        CheckpointError: The file is missing, damaged, not a checkpoint, of a format version that cannot be read, or
            its weights are not finite.
    """
    values = read_archive(path)
    mark = values.pop("format", None)
    if not isinstance(mark, str) or mark != FORMAT:
        raise CheckpointError(
            path, f"is not a checkpoint of fastpath: found no mark '{FORMAT}'", "give best.pt or last.pt"
        )
    values = migrations.migrated(values, values.pop("version", None), path)
    form.check_fields(values, Checkpoint, path)
    _LOGGER.debug("read %s: epoch %s, step %s", path, values["epoch"], values["step"])
    return Checkpoint(**values)


def check_provenance(checkpoint: Checkpoint, path: Path, origin: Provenance) -> None:
    """Refuse to continue a checkpoint on other data, with another configuration or with other code.

    Raises:
        CheckpointError: Naming what was found in the checkpoint and what was wanted.
    """
    ours, theirs = origin.software.get("fastpath"), checkpoint.software.get("fastpath")
    for what, held, wanted, remedy in (
        ("store", checkpoint.store_fingerprint, origin.store_fingerprint, "resume with the store it was trained on"),
        ("split", checkpoint.split_fingerprint, origin.split_fingerprint, "restore the split it was trained on"),
        ("table of mined patches", checkpoint.extra_fingerprint, origin.extra_fingerprint, "restore that data.extra"),
        ("release of fastpath", theirs, ours, "resume with that release, or train into a new directory"),
    ):
        if held != wanted:
            raise CheckpointError(path, f"belongs to another {what}: found {held}, wanted {wanted}", remedy)
    check_same_config(path, checkpoint.config, origin.config, MAY_CHANGE)


def check_same_config(
    path: Path, held: Mapping[str, Any], wanted: Mapping[str, Any], may_change: Sequence[str] = ()
) -> None:
    """Refuse to continue a run with another configuration.

    Args:
        path: Where the configuration was found, for an error.
        held: The run's.
        wanted: What it is to go on with.
        may_change: Keys whose values may differ.

    Raises:
        CheckpointError: Naming every key that differs, with both values.
    """
    found_values, wanted_values = flat(held), flat(wanted)
    differing = [
        key
        for key in {**found_values, **wanted_values}
        if key not in may_change and found_values.get(key) != wanted_values.get(key)
    ]
    if differing:
        pairs = ", ".join(f"{key}: found {found_values.get(key)}, wanted {wanted_values.get(key)}" for key in differing)
        raise CheckpointError(
            path,
            f"belongs to another configuration ({pairs})",
            f"train into a new directory; a run goes on with its own settings, except {', '.join(may_change)}"
            if may_change
            else "resume with the same settings, or train into a new directory",
        )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    results: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            results |= flat(value, f"{prefix}{key}.")
        else:
            results[prefix + key] = value
    return results
