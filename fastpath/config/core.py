"""The one configuration of a run: nested, frozen, unknown keys refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from fastpath.config.section import Section, explain
from fastpath.config.train import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
    StageConfig,
    TrainConfig,
    fill_stages,
)


class Config(Section):
    """Everything that decides a run's result, and nothing else: no paths of outputs, no device."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Decides order, augmentation, initial weights and dropout."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    stages: Annotated[tuple[StageConfig, ...], Field(max_length=100)] = ()
    """Parts of the run, each a table after `[[stages]]` with its `epochs` and what it changes of `data` (not the
    limits), `model` (`trainable`, `batchnorm`), `optim` and `schedule`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_stages(cls, values: Any) -> Any:  # noqa: ANN401 (whatever was given)
        return fill_stages(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _stages_make_the_run(self) -> Self:
        total = sum(stage.epochs for stage in self.stages)
        if self.stages and self.train.epochs != total:
            wanted = f"wanted {total}, the sum of the stages' epochs, or --set stages=[]"
            raise ValueError(f"train.epochs: found {self.train.epochs}, {wanted}")
        return self

    def of_stage(self, stage: StageConfig) -> Config:
        """Return the configuration of a run that is this stage and nothing else."""
        changed = {
            name: getattr(self, name).model_copy(update=dict(getattr(stage, name))) for name in ("data", "model")
        }
        changed |= {"optim": stage.optim, "schedule": stage.schedule, "stages": ()}
        return self.model_copy(update=changed | {"train": self.train.model_copy(update={"epochs": stage.epochs})})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the form stored in manifests and checkpoints."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """Return 16 hex digits that differ when any value differs."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse(values: Mapping[str, Any], location: object = "configuration") -> Config:
    """Validate nested plain values.

    Raises:
        ConfigError: An unknown key (the nearest known one is named) or a value out of range.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, location, keys()) from None


def keys(section: type[Section] = Config, prefix: str = "") -> dict[str, str]:
    """Return every dotted key with the sentence that documents it."""
    fields: dict[str, str] = {}
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            fields |= keys(kind, f"{prefix}{name}.")
        else:
            fields[prefix + name] = " ".join((field.description or "").split())
    return fields
