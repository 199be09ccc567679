"""From a model's name to a network that emits one logit a patch, with the weights asked for."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError, FastpathError
from fastpath.model.baseline import BaselineCNN
from fastpath.model.freeze import LogitNetwork, freeze

BASELINE = "baseline_cnn"
# What published files call their thousand-class layer; torchvision's is `fc`.
_CLASSIFIERS = ("fc", "classifier", "head")


def build(config: ModelConfig, image_size_px: int) -> LogitNetwork:
    """Make a network in training mode, frozen as configured, on the CPU.

    Weights that are not loaded are drawn from torch's global generator: seed it first.

    Args:
        config: Name, weights, and what is trained.
        image_size_px: Height and width of the input, in pixels; fixes layers of networks with a fixed input.

    Returns:
        A module that maps normalised images float [N, 3, H, W] to logits float [N].

    Raises:
        ConfigError: No such model or child module, or weights that do not fit or cannot be fetched.
    """
    published = config.pretrained and config.weights is None
    if config.name == BASELINE and published:
        raise ConfigError(
            "model.pretrained",
            f"{BASELINE} has no published weights",
            "set model.pretrained=false or model.weights=FILE",
        )
    model = LogitNetwork(_create(config.name, image_size_px, published))
    if config.weights is not None:
        _load_local(model, config.weights)
    freeze(model, config.trainable, config.batchnorm)
    return model


def restore(config: ModelConfig, image_size_px: int, state: Mapping[str, Tensor], where: object) -> LogitNetwork:
    """Make a configured network with the weights of a checkpoint; fetches and reads no others.

    Args:
        config: The configuration the checkpoint was trained with.
        image_size_px: Height and width of the input, in pixels.
        state: The checkpoint's state dict.
        where: The checkpoint, for an error.

    Raises:
        ConfigError: The weights are of another network.
    """
    model = build(config.model_copy(update={"pretrained": False, "weights": None}), image_size_px)
    _fit(model, dict(state), where)
    return model


def _create(name: str, image_size_px: int, published: bool) -> nn.Module:
    """Make the trunk by name, with timm's published weights or random ones."""
    if name == BASELINE:
        return BaselineCNN(image_size_px)
    try:
        known = get_pretrained_cfg(name) if timm.is_model(name) else None
        if known is None:
            raise RuntimeError(f"Unknown model ({name})")
        # Transformers fix their position embedding to the input; convolutions do not take the argument.
        size = {"img_size": image_size_px} if known.fixed_input_size else {}
        with _quiet_downloads():
            trunk: nn.Module = timm.create_model(name, pretrained=published, num_classes=1, **size)
    except OSError as error:
        raise ConfigError(
            "model.pretrained",
            f"the published weights of '{name}' cannot be fetched ({type(error).__name__})",
            "give a file with --set model.weights=FILE, or start from random ones with --set model.pretrained=false",
        ) from None
    except (RuntimeError, AssertionError, TypeError) as error:
        near = ", ".join(timm.list_models(f"*{name.split('.')[0][:6]}*")[:3])
        hint = f"known names are {near} …" if near else "see timm.list_models()"
        raise ConfigError("model.name", f"timm cannot make '{name}': {_one_line(error)}", hint) from None
    _start_head_small(trunk.get_classifier())  # type: ignore[operator]
    return trunk


def _start_head_small(head: nn.Module) -> None:
    """Draw the new head as torch draws any linear layer: uniform within 1/√inputs.

    Some of timm's networks scale theirs by the number of outputs instead, which for a single one gives weights
    up to 1 and first logits of ±10: a training loss of 2 that takes an epoch to unlearn.
    """
    for module in head.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()


def _load_local(model: LogitNetwork, path: Path) -> None:
    """Load a .pth or .safetensors file of ImageNet weights, less their classifier."""
    state = _read(path)
    own = model.trunk.state_dict()
    head = next(name for name, module in model.trunk.named_modules() if module is model.head)
    for key in list(state):
        misfit = key not in own or state[key].shape != own[key].shape
        if misfit and key.startswith((f"{head}.", *(f"{name}." for name in _CLASSIFIERS))):
            del state[key]
    for key, value in own.items():
        # The fresh head stands where the file's was dropped; old files lack the BatchNorms' batch counter.
        if key.startswith(f"{head}.") or key.endswith("num_batches_tracked"):
            state.setdefault(key, value)
    _fit(model.trunk, state, path)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
            values = values["state_dict"]
        if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
            raise ValueError("it holds something else")
        return dict(values)
    except FileNotFoundError:
        raise ConfigError("model.weights", f"'{path}' does not exist", "give the path of a weight file") from None
    # safetensors raises an exception of its own that derives from Exception alone.
    except Exception as error:
        if isinstance(error, FastpathError | KeyboardInterrupt):
            raise
        reason = "it needs code to load" if isinstance(error, pickle.UnpicklingError) else _one_line(error)
        raise ConfigError(
            "model.weights",
            f"'{path}' is not a plain table of tensors ({reason})",
            "give a .pth or .safetensors state dict",
        ) from None


def _fit(module: nn.Module, state: dict[str, Tensor], where: object) -> None:
    """Load `state` exactly, or say in one line how it differs."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = [
        f"{len(keys)} {what} ({keys[0]} …)" for what, keys in (("missing", missing), ("unknown", extra)) if keys
    ]
    if shapes:
        found, wanted = tuple(state[shapes[0]].shape), tuple(own[shapes[0]].shape)
        problems.append(f"{len(shapes)} of another shape ({shapes[0]}: found {found}, wanted {wanted})")
    if problems:
        raise ConfigError(
            where, f"the weights do not fit the network: {', '.join(problems)}", "use the network's own file"
        )
    module.load_state_dict(state)


@contextlib.contextmanager
def _quiet_downloads() -> Iterator[None]:
    """Keep the hub's retry messages off the screen: a failure is told once, by the error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
