"""The one configuration of a run: nested, frozen, unknown keys refused.

Sources, later ones winning: the defaults below, a TOML file, `--set a.b=value` overrides.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fastpath.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every table of the configuration: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


_D4 = {"hflip": 0.5, "quarter_turns": True, "rotation_deg": 0.0, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
_PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
_STRONG = {"rotation_deg": 15.0, "border": "clamp", "crop_scale": (0.7, 1.0), "crop_ratio": (0.9, 1.1)}
_WIDE = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1, "stain": 0.1}
POLICIES: dict[str, dict[str, Any]] = {
    "notebook": {},
    "none": {**_D4, **_PLAIN, "hflip": 0.0, "quarter_turns": False},
    "d4": {**_D4, **_PLAIN},
    "strong": {**_D4, **_STRONG, **_WIDE},
}
"""What each policy sets; the defaults of `AugmentConfig` are the notebook's."""


class AugmentConfig(Section):
    """Random geometry and colour of training patches; distributions are torchvision's."""

    policy: Literal["notebook", "none", "d4", "strong"] = "notebook"
    """Where the keys below start from: the notebook's values; nothing; flips and quarter turns, which lose no
    pixel; or these with small rotations, zooms, wider colour and stain. A key that is given wins."""
    hflip: Fraction = 0.5
    """Probability of a horizontal flip."""
    vflip: Fraction = 0.0
    """Probability of a vertical flip."""
    quarter_turns: bool = False
    """Turn by 0, 90, 180 or 270 degrees, each with probability 1/4. With both flips at 0.5 this is D4."""
    rotation_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 15.0
    """Rotate by an angle uniform in [-rotation_deg, rotation_deg], in degrees."""
    crop_scale: tuple[Positive, Positive] = (0.8, 1.0)
    """Area of the random crop as a share of the patch, uniform between the two. (1, 1) crops nothing."""
    crop_ratio: tuple[Positive, Positive] = (0.75, 4 / 3)
    """Width over height of the random crop, log-uniform between the two."""
    brightness: NonNegative = 0.2
    """Brightness factor uniform in [max(0, 1 - brightness), 1 + brightness]."""
    contrast: NonNegative = 0.2
    """Contrast factor, likewise."""
    saturation: NonNegative = 0.2
    """Saturation factor, likewise."""
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Hue shift uniform in [-hue, hue], in turns of the colour circle."""
    stain: NonNegative = 0.0
    """Each of the stains haematoxylin, eosin and DAB is scaled by a factor uniform in [1 - stain, 1 + stain] and
    shifted by an optical density uniform in [-stain, stain], before the colour jitter."""
    border: Literal["black", "clamp"] = "black"
    """What a rotation brings in from outside the patch: black (the notebook's), or the nearest pixel."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_policy(cls, values: Any) -> Any:  # noqa: ANN401 (whatever was given)
        # A policy that does not exist is reported by its own field.
        return {**POLICIES.get(str(values.get("policy")), {}), **values} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: found {low} > {high}, wanted the smaller value first")
        if self.crop_scale[1] > 1.0:
            raise ValueError(f"crop_scale: found {self.crop_scale[1]}, wanted at most 1")
        return self


class DataConfig(Section):
    """What is fed to the network, in what order."""

    image_size_px: Annotated[int, Field(ge=16, le=1024)] = 224
    """Height and width of the network's input, in pixels."""
    batch_size: Count = 64
    """Patches a step, over all ranks."""
    sampling: Literal["natural", "weighted", "systematic"] = "weighted"
    """Order of an epoch: a permutation; inverse class frequency with replacement (the notebook's); or the
    same class shares by low-variance resampling, which leaves far fewer patches unseen."""
    limit: Annotated[int, Field(ge=0)] = 0
    """Use only this many training patches, a stratified draw; 0 uses all."""
    val_limit: Annotated[int, Field(ge=0)] = 0
    """The same for validation patches."""
    augment: AugmentConfig = AugmentConfig()


class ModelConfig(Section):
    """The network."""

    name: str = "resnet50.tv_in1k"
    """A timm model name, or `baseline_cnn` for the notebook's three-block network."""
    pretrained: bool = True
    """Start from timm's published weights (downloaded once). Ignored where `weights` is given."""
    weights: Path | None = None
    """A local weight file (.pth or .safetensors) in place of the published one."""
    trainable: str = "layer4"
    """`head`, `all`, or a child module of the trunk that is trained along with the head, such as `layer4`."""
    batchnorm: Literal["adapt", "frozen"] = "adapt"
    """BatchNorm of the frozen trunk: `adapt` keeps updating running statistics (the notebook's), `frozen`
    uses them as they are."""


class OptimConfig(Section):
    """The optimiser: two learning rates, one for the head and one for the trained part of the trunk."""

    name: Literal["adam", "adamw"] = "adam"
    """Adam with L2 weight decay (the notebook's) or AdamW with decoupled decay."""
    lr_head: Positive = 1e-4
    """Learning rate of the head."""
    lr_trunk: Positive = 1e-5
    """Learning rate of the trained trunk parameters."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of both groups."""


class ScheduleConfig(Section):
    """How the learning rate moves. Only the fields of the chosen kind are read."""

    kind: Literal["constant", "step", "cosine", "plateau", "onecycle"] = "cosine"
    """StepLR, CosineAnnealingLR and ReduceLROnPlateau move each epoch; OneCycleLR moves each step."""
    step_epochs: Count = 3
    """`step`: epochs between two reductions."""
    gamma: Positive = 0.2
    """`step`: factor of a reduction."""
    t_max_epochs: Annotated[int, Field(ge=0)] = 0
    """`cosine`: epochs of the half wave; 0 means the whole run."""
    factor: Positive = 0.5
    """`plateau`: factor of a reduction."""
    patience_epochs: Annotated[int, Field(ge=0)] = 2
    """`plateau`: epochs without a better validation AUC before a reduction."""
    warmup_share: Fraction = 0.3
    """`onecycle`: share of the run that the rate rises."""


class TrainConfig(Section):
    """The run."""

    epochs: Count = 15
    """Passes over the training split."""
    early_stop_epochs: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better validation AUC; 0 never stops early."""
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    """Also save `last` every so many steps; 0 saves at the end of each epoch only."""


class Config(Section):
    """Everything that decides a run's result, and nothing else: no paths of outputs, no device."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Decides order, augmentation, initial weights and dropout."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the form stored in manifests and checkpoints."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """Return 16 hex digits that differ when any value differs."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse(values: Mapping[str, Any], where: object = "configuration") -> Config:
    """Validate nested plain values.

    Raises:
        ConfigError: An unknown key (the nearest known one is named) or a value out of range.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise _explain(error, where) from None


def load(path: Path | None, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML file (defaults where `path` is None) and apply `a.b=value` overrides.

    Raises:
        ConfigError: The file is missing or not TOML, or a key or value is wrong.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(path, f"cannot be read ({error.strerror})", "give the path of a TOML file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(path, f"is not TOML ({error})", "correct that line") from None
    for override in overrides:
        _apply(values, override)
    return parse(values, path or "configuration")


def recipe(name: str) -> Path:
    """Return the TOML file of a recipe that ships with fastpath, such as `demo`.

    Raises:
        ConfigError: There is no such recipe.
    """
    package = Path(__file__).resolve().parent
    # Within the package where a wheel was installed, beside it in a checkout.
    folders = (package / "configs", package.parent / "configs")
    for folder in folders:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    known = ", ".join(sorted({path.stem for folder in folders for path in folder.glob("*.toml")}))
    raise ConfigError(name, f"is not a recipe; known are {known or 'none'}", "choose one of these")


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `a.b=value` in nested `values`; the value is read as TOML, and as a bare string failing that."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError("--set", f"found '{override}', wanted key=value", "write for example --set train.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError("--set", f"'{dotted}' goes below '{key}', which is a value", "drop what follows it")
    table[keys[-1]] = value


def keys(section: type[Section] = Config, prefix: str = "") -> dict[str, str]:
    """Return every dotted key with the sentence that documents it."""
    found: dict[str, str] = {}
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found |= keys(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = " ".join((field.description or "").split())
    return found


def _explain(error: ValidationError, where: object) -> ConfigError:
    """Turn the first of pydantic's complaints into one line."""
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(keys()) + list({key.split(".")[0] for key in keys()})
        near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "see docs/config.md for the keys"
        return ConfigError(where, f"unknown key '{dotted}'", hint)
    problem = first["msg"].removeprefix("Value error, ")
    return ConfigError(where, f"{dotted}: found {first['input']!r}; {problem}", "correct that value")
