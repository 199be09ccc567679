"""A file of weights in place of the published ones: read on no trust, less its classifier, and fitted exactly."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from fastpath.errors import ConfigError, FastpathError
from fastpath.model.freeze import LogitNetwork
from fastpath.model.published_names import renamed
from fastpath.system.files import open_regular
from fastpath.system.tensor_file import not_finite, read_tensor_file
from fastpath.text import brief

# What published files call their thousand-class layer; torchvision's is `fc`.
_CLASSIFIERS = ("fc", "classifier", "head")
_COPIES, _SPARE_BYTES = 8, 256 << 20  # a training's file holds averages and an optimiser's state besides


def load_local(model: LogitNetwork, path: Path) -> None:
    """Load a .pth or .safetensors file of ImageNet weights, less their classifier.

    Raises:
        ConfigError: It is missing, holds anything but finite tensors, or is of another network.
    """
    own = model.trunk.state_dict()
    state = _read(path, _SPARE_BYTES + _COPIES * sum(value.numel() * value.element_size() for value in own.values()))
    try:
        state = renamed(state, own)
    except ValueError as error:
        problem = f"'{path}' is of another network ({error})"
        raise ConfigError("model.weights", problem, "use model.name=tf_efficientnet_lite0, or another file") from None
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


def _read(path: Path, bytes_max: int) -> dict[str, Tensor]:
    remedy = "give a .pth or .safetensors state dict"
    with open_regular(path, follow=True, kind=ConfigError) as file:  # a hub's cache is made of links
        size = os.fstat(file.fileno()).st_size
    if size > bytes_max:
        problem = f"'{path}' has {size >> 20:,} MiB, wanted at most {bytes_max >> 20:,} MiB for this network"
        raise ConfigError("model.weights", problem, remedy)
    try:
        values: Any = (
            load_file(path) if path.suffix == ".safetensors" else read_tensor_file(path, ConfigError, checked=False)
        )
        if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
            values = values["state_dict"]
        if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
            raise ValueError("it holds something else")
    # safetensors raises an exception of its own that derives from Exception alone.
    except Exception as error:
        if isinstance(error, FastpathError):
            raise
        why = "it needs code to load" if isinstance(error, pickle.UnpicklingError) else brief(error, 160)
        problem = f"'{path}' is not a plain table of tensors ({why})"
        raise ConfigError("model.weights", problem, remedy) from None
    nonfinite = not_finite(values)
    if nonfinite is not None:
        problem = f"'{path}' holds NaN, infinity or complex numbers in '{nonfinite}'"
        raise ConfigError("model.weights", problem, "give weights of a training that did not diverge")
    return {str(key): value for key, value in values.items()}


def fit(module: nn.Module, state: dict[str, Tensor], location: object) -> None:
    """Load `state` exactly.

    Raises:
        ConfigError: It is of another network, and how it differs; names `location`.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = [
        f"{len(keys)} {what} ({keys[0]} …)" for what, keys in (("missing", missing), ("unknown", extra)) if keys
    ]
    if shapes:
        sizes = tuple(state[shapes[0]].shape), tuple(own[shapes[0]].shape)
        problems.append(f"{len(shapes)} of another shape ({shapes[0]}: found {sizes[0]}, wanted {sizes[1]})")
    kinds = [key for key in own if key in state and own[key].is_floating_point() != state[key].is_floating_point()]
    if kinds:
        dtype, wanted = state[kinds[0]].dtype, own[kinds[0]].dtype
        problems.append(f"{len(kinds)} of another type ({kinds[0]}: found {dtype}, wanted {wanted})")
    if problems:
        raise ConfigError(
            location, f"the weights do not fit the network: {', '.join(problems)}", "use the network's own file"
        )
    module.load_state_dict(state)
