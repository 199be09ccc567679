"""The one configuration of a run: nested, frozen, unknown keys refused."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from fastpath.config.augment import Section
from fastpath.config.train import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
    StageConfig,
    TrainConfig,
    fill_stages,
)
from fastpath.errors import ConfigError

_SHOWN = 100  # characters of a key or value that an error shows


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
            raise ValueError(f"train.epochs: found {self.train.epochs}, wanted {total}, the sum of the stages' epochs")
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
        raise _explain(error, location) from None


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


def _shown(value: object) -> str:
    """Return a value as Python writes it, cut where it would fill more than a line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def _explain(error: ValidationError, location: object) -> ConfigError:
    """Turn the first of pydantic's complaints into one line."""
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])[:_SHOWN]
    if first["type"] == "extra_forbidden":
        known = list(keys()) + list({key.split(".")[0] for key in keys()})
        longer = [key for key in known if key.startswith(dotted) or key.endswith(f".{dotted}")]
        near = longer[:2] or difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "'fastpath config keys' explains them all"
        return ConfigError(location, f"unknown key '{dotted}'", hint)
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return ConfigError(location, f"'{dotted}' is missing", "give it a value")
    # What concerns several tables names its keys itself.
    problem = f"{dotted}: found {_shown(first['input'])}; {problem}" if dotted else problem
    return ConfigError(location, problem, "correct that value")
