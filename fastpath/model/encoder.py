"""A published encoder as it is: one vector a patch, with the input size and normalisation that its authors state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import xxhash
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from fastpath.errors import ConfigError, FastpathError, memory_exhausted
from fastpath.model import published_weights
from fastpath.model.freeze import LogitNetwork
from fastpath.model.published_weights import HUB
from fastpath.model.registry import quiet_downloads
from fastpath.model.weights import load_local
from fastpath.system.files import read_regular
from fastpath.text import brief
from fastpath.types import ChannelStats

LOCAL = "local-dir:"
POOLED, TOKENS, MAP = (
    "as the network pools",
    "class token beside the mean of the patch tokens",
    "mean over the map",
)
"""How one vector a patch is made: most networks pool themselves; of those that emit all tokens, as Virchow's authors
do; of those that emit a map, its mean."""
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CONFIG_BYTES_MAX = 1 << 20
_FETCH = "fetch it where there is a network, then give --weights FILE, or --model local-dir:FOLDER"
_BATCH = 2  # images of the trial: with one, a network that loses the batch's dimension would look right


@dataclass(frozen=True, slots=True)
class Encoder:
    """A network without a classifier, and how its inputs are made.

    Attributes:
        name: What timm calls it.
        network: From normalised images float [N, 3, H, W] to features [N, D]; in evaluation mode, on the CPU.
        num_features: D.
        pooling: One of `POOLED`, `TOKENS`, `MAP`.
        image_size_px: Height and width of its input.
        stats: What its inputs are normalised with.
        licence: Of its weights, where the pretrained configuration states it; else empty.
        weights_hash: xxh3-128 of its parameters and buffers, 32 hex digits.
    """

    name: str
    network: nn.Module
    num_features: int
    pooling: str
    image_size_px: int
    stats: ChannelStats
    licence: str
    weights_hash: str


class Pooled(nn.Module):
    """A network whose tokens or map are made one vector a patch."""

    def __init__(self, trunk: nn.Module, num_prefix: int) -> None:
        super().__init__()
        self.trunk, self.num_prefix = trunk, num_prefix

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return features [N, D]: of tokens [N, T, D'] the first beside the mean of the rest, of a map its mean."""
        emitted = self.trunk(images_NCHW)
        if emitted.ndim == 4:
            return emitted.mean((2, 3))  # type: ignore[no-any-return]
        mean_ND = emitted[:, self.num_prefix :].mean(1)
        return torch.cat([emitted[:, 0], mean_ND], 1) if self.num_prefix else mean_ND


def load_encoder(name: str, weights: Path | None = None) -> Encoder:
    """Make an encoder with its published weights, or with those of a file.

    Args:
        name: A model of timm, `hf-hub:ORG/NAME`, or `local-dir:FOLDER`, which holds config.json and its weights.
        weights: A .pth or .safetensors file of the network's own; with it, nothing is fetched for a model of timm.

    Raises:
        ConfigError: There is no such model, its weights cannot be had or do not fit, or it does not emit a vector a
            patch.
    """
    if name.startswith(LOCAL):
        trunk, weights = _of_folder(name, weights)
        name = f"{LOCAL}{Path(name.removeprefix(LOCAL)).resolve().name}"  # what is written tells no place
    else:
        trunk = _of_timm(name, published=weights is None)
    if weights is not None:
        try:
            load_local(LogitNetwork(trunk), weights)
        except ConfigError as error:
            location = "--weights" if error.location == "model.weights" else error.location
            raise ConfigError(location, error.problem, error.remedy) from None
    size_px, stats = _inputs(trunk, name)
    network, pooling, num_features = _tried(trunk.eval(), name, size_px)
    return Encoder(
        name=name,
        network=network.requires_grad_(False),
        num_features=num_features,
        pooling=pooling,
        image_size_px=size_px,
        stats=stats,
        licence=_licence(trunk),
        weights_hash=state_hash(trunk.state_dict()),
    )


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Return 32 hex digits that differ when any name, shape, type or value of a state dict differs."""
    digest = xxhash.xxh3_128()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key}\0{value.dtype}\0{list(value.shape)}\0".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _of_timm(name: str, *, published: bool) -> nn.Module:
    """Make a network of timm or of the hub, with published weights or random ones."""
    try:
        if not name.startswith(HUB) and (not timm.is_model(name) or get_pretrained_cfg(name) is None):
            raise RuntimeError("unknown model")
        why = published_weights.missing(name) if published else ""
        if why:
            raise ConfigError("--model", f"'{name}' cannot be fetched: {why}", _FETCH)
        with quiet_downloads():
            made: nn.Module = timm.create_model(name, pretrained=published, num_classes=0)
    except Exception as error:  # timm, the hub and networks raise whatever they like
        raise _refused(name, error) from None
    return made


def _refused(name: str, error: Exception) -> Exception:
    """Return what to say where timm cannot make an encoder."""
    if isinstance(error, FastpathError) or memory_exhausted(error) is not None:
        return error
    if isinstance(error, OSError) or "connect" in str(error).lower():
        problem = f"'{name}' cannot be fetched ({type(error).__name__})"
        return ConfigError("--model", problem, _FETCH)
    if "No pretrained weights exist" in str(error):
        return ConfigError(
            "--model", f"timm has no published weights for '{name}'", "use one of its tags, or --weights"
        )
    near = ", ".join(timm.list_models(f"*{name.split('.')[0][:6]}*")[:3]) if name.isascii() else ""
    hint = f"known names are {near} …" if near else "give a model of timm, hf-hub:ORG/NAME or local-dir:FOLDER"
    return ConfigError("--model", f"timm cannot make '{name}': {brief(error, 160)}", hint)


def _of_folder(name: str, weights: Path | None) -> tuple[nn.Module, Path]:
    """Make a network as a folder's config.json says, as timm writes it; return it and the file of its weights.

    Read here and not by timm, whose older versions know no such folders: and its weights are read on no trust.
    """
    folder = Path(name.removeprefix(LOCAL))
    content = read_regular(folder / "config.json", bytes_max=_CONFIG_BYTES_MAX, follow=True, kind=ConfigError)
    try:
        about = json.loads(content)
        architecture, given = str(about["architecture"]), dict(about.get("model_args") or {})
        pretrained = {**dict(about.get("pretrained_cfg") or {}), "num_classes": 0}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        problem = f"is not a model's configuration as timm writes it ({brief(error, 120)})"
        raise ConfigError(folder / "config.json", problem, "give the folder of a model") from None
    if not timm.is_model(architecture):
        problem = f"names the architecture {architecture!r}, which timm has not"
        raise ConfigError(folder / "config.json", " ".join(problem.split()), "upgrade timm, or give another folder")
    try:
        options = {**given, "num_classes": 0}
        made: nn.Module = timm.create_model(architecture, pretrained=False, pretrained_cfg=pretrained, **options)
    except Exception as error:
        raise _refused(name, error) from None
    present = [folder / file for file in _WEIGHTS if (folder / file).exists()]
    if weights is None and not present:
        raise ConfigError(folder, f"found none of {', '.join(_WEIGHTS)}", "give its weights with --weights FILE")
    return made, weights or present[0]


def _inputs(trunk: nn.Module, name: str) -> tuple[int, ChannelStats]:
    """Return the side of an encoder's input and what it is normalised with, from timm's data configuration."""
    about: dict[str, Any] = resolve_model_data_config(trunk)
    channels, height, width = about["input_size"]
    if channels != 3 or height != width:
        problem = f"'{name}' takes inputs of {about['input_size']}, wanted three channels and a square"
        raise ConfigError("--model", problem, "use another encoder")
    mean_3, std_3 = (tuple(float(value) for value in about[key]) for key in ("mean", "std"))
    if len(mean_3) != 3 or len(std_3) != 3 or min(std_3) <= 0:
        raise ConfigError("--model", f"'{name}' states no normalisation of three channels", "use another encoder")
    return int(height), ChannelStats(mean_3, std_3)


def _tried(trunk: nn.Module, name: str, size_px: int) -> tuple[nn.Module, str, int]:
    """Pass noise through a network; return what emits one vector a patch, how, and the vector's length."""
    noise = torch.randn(_BATCH, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    network, pooling = trunk, POOLED
    try:
        with torch.inference_mode():
            emitted: object = trunk(noise)
            if isinstance(emitted, Tensor) and emitted.ndim in (3, 4):
                network = Pooled(trunk, int(getattr(trunk, "num_prefix_tokens", 0)))
                pooling = TOKENS if emitted.ndim == 3 else MAP
                emitted = network.eval()(noise)
    except Exception as error:  # a network raises whatever it likes over a size that it was not made for
        if memory_exhausted(error) is not None:
            raise
        problem = f"'{name}' does not take its own inputs of {size_px} pixels ({brief(error, 120)})"
        raise ConfigError("--model", problem, "use another encoder") from None
    if not isinstance(emitted, Tensor) or emitted.ndim != 2 or len(emitted) != _BATCH or not emitted.shape[1]:
        shape = list(emitted.shape) if isinstance(emitted, Tensor) else type(emitted).__name__
        raise ConfigError("--model", f"'{name}' emits {shape}, wanted a vector a patch", "use another encoder")
    if not bool(torch.isfinite(emitted).all()):
        raise ConfigError("--model", f"'{name}' emits NaN or infinity for noise", "use other weights")
    return network, pooling, int(emitted.shape[1])


def _licence(trunk: nn.Module) -> str:
    about = getattr(trunk, "pretrained_cfg", None) or {}
    stated = about.get("license") if isinstance(about, Mapping) else None
    return " ".join(str(stated).split())[:200] if stated else ""
