"""The optimiser with its two learning rates, and how the rates move."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from fastpath.config import OptimConfig, ScheduleConfig

MOVING_EACH_STEP = ("onecycle", "warmup_cosine")
"""Schedules whose rate moves at each step, over all steps of the run; with the others it moves between epochs."""


def make_optimizer(
    head: list[nn.Parameter], trunk: list[nn.Parameter], config: OptimConfig, batch_size: int = 0
) -> torch.optim.Optimizer:
    """Make Adam or AdamW over a group `head` and, where part of the trunk is trained, a group `trunk`.

    Fused: all parameters are updated in one kernel, on CPU and CUDA alike.

    Args:
        head: Parameters of the head.
        trunk: Trained parameters of the trunk; may be none.
        config: Kind and rates.
        batch_size: Patches a step over all ranks; read where the rates are meant for a batch size.
    """
    scale = batch_scale(config, batch_size)
    groups: list[dict[str, Any]] = [{"name": "head", "params": head, "lr": config.lr_head * scale}]
    if trunk:
        groups.append({"name": "trunk", "params": trunk, "lr": config.lr_trunk * scale})
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=config.weight_decay, fused=True)


def batch_scale(config: OptimConfig, batch_size: int) -> float:
    """Return what the configured rates are multiplied by at a batch size.

    The noise of a batch's gradient falls with the root of its size, and Adam divides by that noise: Malladi et al.,
    "On the SDEs and scaling rules for adaptive gradient algorithms", NeurIPS 2022.
    """
    return math.sqrt(batch_size / config.lr_batch_size) if config.lr_batch_size and batch_size else 1.0


def steps_taken(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the steps that the optimiser took, less those a loss scaler skipped: float32 [] on its device."""
    counts = [state["step"] for state in optimizer.state.values()]
    device = optimizer.param_groups[0]["params"][0].device
    return counts[0].clone() if counts else torch.zeros((), device=device)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the current learning rate of each group by name."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A torch scheduler, and the moment it moves at.

    Attributes:
        scheduler: Changes the optimiser's learning rates in place.
        moves: After every `step`, after every `epoch`, or after an epoch by its `score`.
    """

    scheduler: lr_scheduler.LRScheduler
    moves: Literal["step", "epoch", "score"]

    def after_step(self) -> None:
        """Tell the schedule that the optimiser took a step."""
        if self.moves == "step":
            self.scheduler.step()

    def after_epoch(self, score: float) -> None:
        """Tell the schedule that an epoch ended with this validation score, higher being better."""
        if self.moves == "epoch":
            self.scheduler.step()
        elif self.moves == "score":
            self.scheduler.step(score)  # type: ignore[arg-type]


def make_schedule(
    optimizer: torch.optim.Optimizer, config: ScheduleConfig, *, num_epochs: int, total_steps: int
) -> Schedule:
    """Make the configured schedule; the optimiser's present rates are its highest.

    `cosine` over fewer epochs than the run is not a series of restarts: past its half wave the rate climbs
    again, so 5 epochs over a run of 15 give a wave that is 0 in the sixth epoch and full in the eleventh. That
    is what the notebook does, and torch's CosineAnnealingLR.

    Args:
        optimizer: Its groups' rates are changed in place.
        config: Kind and parameters.
        num_epochs: Epochs that the schedule is over.
        total_steps: Steps in all of these.
    """
    schedule = _schedule(optimizer, config, num_epochs, total_steps)
    # torch warns when a schedule moves before its optimiser has. Both cases here are meant: a loss scaler skips
    # the first steps until it has found its scale, and a resumed run's optimiser moved in another process.
    vars(optimizer)["_opt_called"] = True
    return schedule


def wind_on(schedule: Schedule, num_epochs: int, num_steps: int) -> bool:
    """Bring a fresh schedule to where it stands after so many epochs, and steps in all.

    Returns:
        False where that depends on the scores of the epochs too; the schedule is then left as it is.
    """
    if schedule.moves == "score":
        return False
    for _ in range(num_steps if schedule.moves == "step" else num_epochs):
        schedule.scheduler.step()
    return True


def warmup_cosine(step: int, *, warmup_share: float, total_steps: int) -> float:
    """Return the share of the highest rate at a 0-based step: a line up to it, then half a cosine down to 0."""
    warmup = round(warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total_steps - warmup))))


def _schedule(optimizer: torch.optim.Optimizer, config: ScheduleConfig, num_epochs: int, total_steps: int) -> Schedule:
    if config.kind == "step":
        return Schedule(lr_scheduler.StepLR(optimizer, config.step_epochs, config.gamma), "epoch")
    if config.kind == "cosine":
        return Schedule(lr_scheduler.CosineAnnealingLR(optimizer, config.t_max_epochs or num_epochs), "epoch")
    if config.kind == "plateau":
        plateau = lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=config.factor, patience=config.patience_epochs
        )
        return Schedule(plateau, "score")
    if config.kind == "onecycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        # One step more than is taken, since the schedule is also asked for the rate after the last step.
        total = total_steps + 1
        # A rise of one step or less would make torch divide by a length of zero.
        rise = config.warmup_share if config.warmup_share * total > 1 else 0.0
        cycle = lr_scheduler.OneCycleLR(optimizer, highest, total_steps=total, pct_start=rise)
        return Schedule(cycle, "step")
    if config.kind == "warmup_cosine":
        warmed = functools.partial(warmup_cosine, warmup_share=config.warmup_share, total_steps=total_steps)
        return Schedule(lr_scheduler.LambdaLR(optimizer, lambda step: warmed(step)), "step")
    return Schedule(lr_scheduler.ConstantLR(optimizer, factor=1.0), "epoch")
