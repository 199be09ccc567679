"""The optimiser with its two learning rates, and how the rates move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import lr_scheduler

from fastpath.config import OptimConfig, ScheduleConfig


def make_optimizer(head: list[nn.Parameter], trunk: list[nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """Make Adam or AdamW over a group `head` and, where part of the trunk is trained, a group `trunk`.

    Fused: all parameters are updated in one kernel, on CPU and CUDA alike.
    """
    groups: list[dict[str, Any]] = [{"name": "head", "params": head, "lr": config.lr_head}]
    if trunk:
        groups.append({"name": "trunk", "params": trunk, "lr": config.lr_trunk})
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=config.weight_decay, fused=True)


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
    optimizer: torch.optim.Optimizer, config: ScheduleConfig, *, num_epochs: int, num_steps: int
) -> Schedule:
    """Make the configured schedule; the optimiser's present rates are its highest.

    `cosine` over fewer epochs than the run is not a series of restarts: past its half wave the rate climbs
    again, so 5 epochs over a run of 15 give a wave that is 0 in the sixth epoch and full in the eleventh. That
    is what the notebook does, and torch's CosineAnnealingLR.

    Args:
        optimizer: Its groups' rates are changed in place.
        config: Kind and parameters.
        num_epochs: Length of the run.
        num_steps: Steps an epoch.
    """
    schedule = _schedule(optimizer, config, num_epochs, num_steps)
    # torch warns when a schedule moves before its optimiser has. Both cases here are meant: a loss scaler skips
    # the first steps until it has found its scale, and a resumed run's optimiser moved in another process.
    vars(optimizer)["_opt_called"] = True
    return schedule


def _schedule(optimizer: torch.optim.Optimizer, config: ScheduleConfig, num_epochs: int, num_steps: int) -> Schedule:
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
        total = num_epochs * num_steps + 1
        # A rise of one step or less would make torch divide by a length of zero.
        rise = config.warmup_share if config.warmup_share * total > 1 else 0.0
        cycle = lr_scheduler.OneCycleLR(optimizer, highest, total_steps=total, pct_start=rise)
        return Schedule(cycle, "step")
    return Schedule(lr_scheduler.ConstantLR(optimizer, factor=1.0), "epoch")
