"""What a run does in which epoch: its stages, and over which of them an optimiser and its schedule go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastpath.config import Config


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive epochs that are alike.

    Attributes:
        config: The run's configuration as it is in these epochs, with no stages in it.
        first_epoch: 0-based.
        end_epoch: The epoch after the last.
        num_steps: Steps an epoch.
        phase: Number of the optimiser, from 0. Stages that differ in size, batch or augmentation alone share one.
    """

    config: Config
    first_epoch: int
    end_epoch: int
    num_steps: int
    phase: int


def build_stages(config: Config, num_train: int) -> tuple[Stage, ...]:
    """Return a run's stages in order; one where the configuration names none.

    Args:
        config: Of the run.
        num_train: Training patches an epoch, over all ranks.
    """
    stages: list[Stage] = []
    for settings in [config.of_stage(stage) for stage in config.stages] or [config]:
        begin, phase = 0, 0
        if stages:
            begin = stages[-1].end_epoch
            phase = stages[-1].phase + (_learning(settings) != _learning(stages[-1].config))
        num_steps = settings.data.num_steps(num_train)
        stages.append(Stage(settings, begin, begin + settings.train.epochs, num_steps, phase))
    return tuple(stages)


def stage_at(stages: Sequence[Stage], epoch: int) -> Stage:
    """Return the stage of a 0-based epoch; the last one for the epoch after the run."""
    return next((stage for stage in stages if epoch < stage.end_epoch), stages[-1])


def phase_of(stages: Sequence[Stage], phase: int) -> tuple[Stage, ...]:
    """Return the stages that share an optimiser."""
    return tuple(stage for stage in stages if stage.phase == phase)


def begins_phase(stages: Sequence[Stage], epoch: int, step: int) -> bool:
    """Whether a run that stands at this epoch and step is to make a new optimiser before it goes on."""
    return step == 0 and epoch == phase_of(stages, stage_at(stages, epoch).phase)[0].first_epoch


def _learning(config: Config) -> tuple[object, ...]:
    """Return what an optimiser's state and its schedule's depend on."""
    batch_size = config.data.batch_size if config.optim.lr_batch_size else 0
    return config.model, config.optim, config.schedule, batch_size
