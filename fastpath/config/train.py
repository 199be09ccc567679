"""The part of the configuration that training reads: what is fed, what is learnt, how, and in which stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from fastpath.config.augment import AugmentConfig, Fraction, MixConfig
from fastpath.config.section import Section

Batch = Annotated[int, Field(ge=1, le=2**20)]
"""A step's patches: of a million, 224 pixels wide, the images alone fill 560 GiB."""
Patches = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""Rows are numbered by 32 bits."""
Epochs = Annotated[int, Field(ge=1, le=10_000)]
"""The rates of all epochs are told before the first; of a minute each, these take a week."""
EpochsOrNone = Annotated[int, Field(ge=0, le=10_000)]
Rate = Annotated[float, Field(gt=0.0, le=1e38)]
"""Weights are float32: a rate that is none of it is infinite."""

ScheduleKind = Literal["constant", "step", "cosine", "plateau", "onecycle", "warmup_cosine"]


class StageDataConfig(Section):
    """What is fed to the network, as far as a stage may change it."""

    image_size_px: Annotated[int, Field(ge=16, le=1024)] = 224
    """Height and width of the network's input, in pixels. Where stages train at other sizes, this is the size of
    validation and of all later use."""
    batch_size: Batch = 64
    """Patches a step, over all ranks."""
    sampling: Literal["natural", "weighted", "systematic"] = "weighted"
    """Order of an epoch: a permutation; inverse class frequency with replacement (the notebook's); or the
    same class shares by low-variance resampling, which leaves far fewer patches unseen."""
    augment: AugmentConfig = AugmentConfig()
    mix: MixConfig = MixConfig()


class DataConfig(StageDataConfig):
    """What is fed to the network, in what order."""

    limit: Patches = 0
    """Use only this many training patches, a stratified draw; 0 uses all."""
    val_limit: Patches = 0
    """The same for validation patches."""
    eval_batch_size: Annotated[int, Field(ge=0, le=2**20)] = 0
    """Patches a step of validation, evaluation and prediction, over all ranks, which keep no activations for a backward
    pass and so fit more than training; 0 is `data.batch_size`. Logits differ by rounding at most."""
    extra: Path | None = None
    """A table of `fastpath mine`: patches to draw more often or not at all, with another label, or in addition."""

    def num_steps(self, num_patches: int) -> int:
        """Return the steps of an epoch of training on so many patches, over all ranks; the last may be short."""
        return -(-num_patches // self.batch_size)

    @property
    def patches_evaluated_at_once(self) -> int:
        """Patches a step of validation and of all later use, over all ranks."""
        return self.eval_batch_size or self.batch_size


class StageModelConfig(Section):
    """What of the network is trained."""

    trainable: Annotated[str, Field(max_length=200)] = "layer4"
    """`head`, `all`, or a module of the trunk, such as `layer4` or `blocks.3`, from which on all is trained."""
    batchnorm: Literal["adapt", "frozen", "folded"] = "adapt"
    """BatchNorm of the frozen trunk: `adapt` keeps updating running statistics (the notebook's), `frozen` uses them
    as they are, `folded` likewise and multiplied into the convolutions before them: the same up to rounding, faster."""


class ModelConfig(StageModelConfig):
    """The network."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "resnet50.tv_in1k"
    """A timm model name, or `baseline_cnn` for the notebook's three-block network."""
    pretrained: bool = True
    """Start from timm's published weights (downloaded once). Ignored where `weights` is given."""
    weights: Path | None = None
    """A local weight file (.pth or .safetensors) in place of the published one."""
    recalibrate: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Before the first step, take BatchNorm's running statistics anew from this many training batches, so that those of
    a frozen trunk are of these patches and not of the images its weights came from. 0 keeps the weights' own."""


class OptimConfig(Section):
    """The optimiser: two learning rates, one for the head and one for the trained part of the trunk."""

    name: Literal["adam", "adamw"] = "adam"
    """Adam with L2 weight decay (the notebook's) or AdamW with decoupled decay."""
    lr_head: Rate = 1e-4
    """Learning rate of the head."""
    lr_trunk: Rate = 1e-5
    """Learning rate of the trained trunk parameters."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1e38)] = 1e-4
    """Weight decay of both groups."""
    lr_batch_size: Annotated[int, Field(ge=0, le=2**20)] = 0
    """The batch size that both rates are meant for: with another `data.batch_size` they are multiplied by the square
    root of the ratio, Adam's rule. 0 takes the rates as they are."""


class ScheduleConfig(Section):
    """How the learning rate moves. Only the fields of the chosen kind are read."""

    kind: ScheduleKind = "cosine"
    """StepLR, CosineAnnealingLR and ReduceLROnPlateau move each epoch; OneCycleLR, and a linear warm-up followed by a
    half cosine (`warmup_cosine`), move each step."""
    step_epochs: Epochs = 3
    """`step`: epochs between two reductions."""
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    """`step`: factor of a reduction."""
    t_max_epochs: EpochsOrNone = 0
    """`cosine`: epochs of the half wave; 0 means the whole run."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """`plateau`: factor of a reduction."""
    patience_epochs: EpochsOrNone = 2
    """`plateau`: epochs without a better validation AUC before a reduction."""
    warmup_share: Fraction = 0.3
    """`onecycle`, `warmup_cosine`: share of the run that the rate rises."""


class TrainConfig(Section):
    """The run."""

    epochs: Epochs = 15
    """Passes over the training split. With stages, the sum of theirs."""
    early_stop_epochs: EpochsOrNone = 0
    """Stop after this many epochs without a better validation AUC; 0 never stops early."""
    checkpoint_minutes: Annotated[float, Field(ge=0.0, le=525_600.0)] = 10.0
    """Also save `last` whenever so many minutes have passed since the last save: what a crash costs at most; 0 saves at
    the end of each epoch only."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Train towards labels moved this share of the way to one half."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Keep an exponential moving average of the weights, of this decay a step, and validate and use that; 0 keeps
    none. The decay is lower in the first steps: (1 + n) / (10 + n) after n of them, where that is less."""
    accumulate: Annotated[int, Field(ge=1, le=65_536)] = 1
    """Pass each step's batch through the network in this many parts, where all of it does not fit into memory. The
    step is that of the whole batch, but for BatchNorm, which sees a part at a time."""
    sync_batchnorm: bool = False
    """With several processes, let BatchNorm normalise by the samples of all of them, as one process would, and not
    each by its own."""
    compile: bool = False
    """Compile the network with torch.compile: minutes once a run, repaid by long runs on a GPU."""
    deterministic: bool = False
    """On CUDA, compute the same bits every time, by slower kernels where need be, so that a run resumes bit for bit on
    the same card and versions. On a CPU that is always so."""
    cuda_graph: bool = True
    """On one CUDA device, record the training step once and replay it as one launch. False takes it operation by
    operation, for a network that cannot be recorded or where memory is short."""
    include_val: bool = False
    """Train on the validation patches too, for a final network: its validation AUC then tells nothing."""


class StageConfig(Section):
    """A part of a run, after `[[stages]]`. What it does not give is as in the tables of the same name above it."""

    epochs: Epochs
    """Epochs of this stage."""
    data: StageDataConfig = StageDataConfig()
    """Size, batch, sampling and augmentation of training in this stage."""
    model: StageModelConfig = StageModelConfig()
    """What is trained in this stage."""
    optim: OptimConfig = OptimConfig()
    """Optimiser of this stage; begun anew where this table, `model` or `schedule` differs from the stage before."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Schedule of this stage, over it and all that follow with the same `model`, `optim` and `schedule`."""


def fill_stages(values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete each raw `[[stages]]` table from the run's own, so that what is stored says all that it means.

    A value of the wrong form is left as it is, for validation to name.
    """
    filled, stages = dict(values), values.get("stages")
    if not isinstance(stages, list | tuple) or not stages or not all(isinstance(stage, Mapping) for stage in stages):
        return filled
    tables: dict[str, type[Section]] = {
        "data": StageDataConfig,
        "model": StageModelConfig,
        "optim": OptimConfig,
        "schedule": ScheduleConfig,
    }
    for name, section in tables.items():
        own = values.get(name, {})
        if not isinstance(own, Mapping):
            return filled
        inherited = {key: value for key, value in own.items() if key in section.model_fields}
        stages = [{**stage, name: _merged(inherited, stage.get(name, {}))} for stage in stages]
    epochs = [stage.get("epochs") for stage in stages]
    train = filled.get("train", {})
    if isinstance(train, Mapping) and all(isinstance(number, int) for number in epochs):
        filled["train"] = {"epochs": sum(epochs), **train}
    return filled | {"stages": stages}


def _merged(under: Mapping[str, Any], over: Any) -> Any:  # noqa: ANN401 (whatever was given)
    if not isinstance(over, Mapping):
        return over
    merged = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], Mapping):
            merged[key] = _merged(under[key], over[key])
    return merged
