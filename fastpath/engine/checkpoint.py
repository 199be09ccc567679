"""A training run's whole state in one file, which names the data and configuration it belongs to."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastpath.engine.loop import TrainState
from fastpath.errors import CheckpointError
from fastpath.shards.format import write_durably

FORMAT = "fastpath-checkpoint"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run stands. Nothing but tensors and plain values, so that it loads without running code.

    Attributes:
        config: `Config.to_dict()` of the run.
        store_fingerprint: Of the packed store it trains on.
        split_fingerprint: Of the rows it trains and validates on.
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
    """

    config: dict[str, Any]
    store_fingerprint: str
    split_fingerprint: str
    epoch: int
    step: int
    best_auc: float
    best_epoch: int
    epochs_since_best: int
    loss_sum: Tensor
    num_seen: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]


def capture(state: TrainState, *, config: dict[str, Any], store_fingerprint: str, split_fingerprint: str) -> Checkpoint:
    """Describe a training state, sharing its tensors: save it before training goes on."""
    return Checkpoint(
        config=config,
        store_fingerprint=store_fingerprint,
        split_fingerprint=split_fingerprint,
        epoch=state.epoch,
        step=state.step,
        best_auc=state.best_auc,
        best_epoch=state.best_epoch,
        epochs_since_best=state.epochs_since_best,
        loss_sum=state.loss_sum,
        num_seen=state.num_seen,
        model=state.model.state_dict(),
        optimizer=state.optimizer.state_dict(),
        schedule=state.schedule.scheduler.state_dict(),
        scaler=state.scaler.state_dict(),
    )


def reinstate(checkpoint: Checkpoint, state: TrainState) -> None:
    """Bring a freshly made training state to where the checkpoint stands; its model is loaded already."""
    state.optimizer.load_state_dict(checkpoint.optimizer)
    state.schedule.scheduler.load_state_dict(checkpoint.schedule)
    if checkpoint.scaler:  # empty when saved in another precision; the scale is then found anew
        state.scaler.load_state_dict(checkpoint.scaler)
    state.loss_sum.copy_(checkpoint.loss_sum)
    state.num_seen, state.epoch, state.step = checkpoint.num_seen, checkpoint.epoch, checkpoint.step
    state.best_auc, state.best_epoch = checkpoint.best_auc, checkpoint.best_epoch
    state.epochs_since_best = checkpoint.epochs_since_best


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint so that `path` holds the old one or the new one, whenever the process dies."""
    values = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    content = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **values}, content)
    write_durably(path, content.getvalue())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, checking every byte of it against the file's own checksums.

    Raises:
        CheckpointError: The file is missing, damaged, not a checkpoint, or of another format version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of '{damaged}' is wrong")
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(path, "does not exist", "give the directory of a run that was trained") from None
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            path, f"is damaged or not a checkpoint ({reason})", "train again, or restore a copy"
        ) from None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise CheckpointError(
            path, f"is not a checkpoint of fastpath: found no mark '{FORMAT}'", "give best.pt or last.pt"
        )
    version = values.pop("version", None)
    if version != VERSION:
        raise CheckpointError(
            path, f"found format version {version}, wanted {VERSION}", "use the release that wrote it"
        )
    return Checkpoint(**values)


def check_origin(
    checkpoint: Checkpoint, path: Path, *, config: Mapping[str, Any], store_fingerprint: str, split_fingerprint: str
) -> None:
    """Refuse to continue a checkpoint on other data or with another configuration.

    Raises:
        CheckpointError: Naming what was found in the checkpoint and what was wanted.
    """
    for what, found, wanted, remedy in (
        ("store", checkpoint.store_fingerprint, store_fingerprint, "resume with the store it was trained on"),
        ("split", checkpoint.split_fingerprint, split_fingerprint, "restore the split it was trained on"),
    ):
        if found != wanted:
            raise CheckpointError(path, f"belongs to another {what}: found {found}, wanted {wanted}", remedy)
    check_same_config(path, checkpoint.config, config)


def check_same_config(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to continue a run with another configuration.

    Raises:
        CheckpointError: Naming every key that differs, with both values.
    """
    found_values, wanted_values = _flat(found), _flat(wanted)
    differing = [key for key in {**found_values, **wanted_values} if found_values.get(key) != wanted_values.get(key)]
    if differing:
        pairs = ", ".join(f"{key}: found {found_values.get(key)}, wanted {wanted_values.get(key)}" for key in differing)
        raise CheckpointError(
            path,
            f"belongs to another configuration ({pairs})",
            "resume with the same settings, or train into a new directory",
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
