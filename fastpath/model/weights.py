"""A file of weights in place of the published ones: read on no trust, less its classifier, and fitted exactly."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fastpath.errors import ConfigError, FastpathError
from fastpath.model.freeze import LogitNetwork

# What published files call their thousand-class layer; torchvision's is `fc`.
_CLASSIFIERS = ("fc", "classifier", "head")


def load_local(model: LogitNetwork, path: Path) -> None:
    """Load a .pth or .safetensors file of ImageNet weights, less their classifier.

    Raises:
        ConfigError: It is missing, holds anything but finite tensors, or is of another network.
    """
    state = _read(path)
    own = model.trunk.state_dict()
    classifiers = {id(module) for module in model.heads}
    heads = [f"{name}." for name, module in model.trunk.named_modules() if id(module) in classifiers]
    for key in list(state):
        misfit = key not in own or state[key].shape != own[key].shape
        if misfit and key.startswith((*heads, *(f"{name}." for name in _CLASSIFIERS))):
            del state[key]
    for key, value in own.items():
        # The fresh head stands where the file's was dropped; old files lack the BatchNorms' batch counter.
        if key.startswith(tuple(heads)) or key.endswith("num_batches_tracked"):
            state.setdefault(key, value)
    fit(model.trunk, state, path)


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
        reason = "it needs code to load" if isinstance(error, pickle.UnpicklingError) else one_line(error)
        raise ConfigError(
            "model.weights",
            f"'{path}' is not a plain table of tensors ({reason})",
            "give a .pth or .safetensors state dict",
        ) from None


def fit(module: nn.Module, state: dict[str, Tensor], where: object) -> None:
    """Load `state` exactly.

    Raises:
        ConfigError: It is of another network, and how it differs; names `where`.
    """
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


def one_line(error: Exception) -> str:
    """Return an error's text, or its kind where it has none, short enough for a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
