"""From a model's name to a network that emits one logit a patch, with the weights asked for."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Iterator, Mapping

import timm
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError, FastpathError, memory_exhausted
from fastpath.model import published_weights
from fastpath.model.baseline import BaselineCNN
from fastpath.model.freeze import LogitNetwork, freeze, heads_of
from fastpath.model.probe import probe
from fastpath.model.weights import fit, load_local
from fastpath.text import brief

BASELINE = "baseline_cnn"


def build(config: ModelConfig, image_size_px: int) -> LogitNetwork:
    """Make a network in training mode, frozen as configured, on the CPU.

    Weights that are not loaded are drawn from torch's global generator: seed it first.

    Args:
        config: Name, weights, and what is trained.
        image_size_px: Height and width of the input, in pixels; fixes layers of networks with a fixed input.

    Returns:
        A module that maps normalised images float [N, 3, H, W] to logits float [N].

    Raises:
        ConfigError: No such model or child module, weights that do not fit or cannot be fetched, or a network that does
            not take such an input or emits something else than a logit a patch.
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
        load_local(model, config.weights)
    probe(model, config.name, image_size_px, own_px=_own_size_px(config.name))
    freeze(model, config.trainable, config.batchnorm)
    return model


def check_published(config: ModelConfig) -> None:
    """Refuse a configuration whose published weights cannot be had, before anything is built; see `published_weights`.

    Raises:
        ConfigError: The network's weights are neither here nor to be had.
    """
    if config.pretrained and config.weights is None and timm.is_model(config.name):
        published_weights.check(config.name)


def restore(config: ModelConfig, image_size_px: int, state: Mapping[str, Tensor], location: object) -> LogitNetwork:
    """Make a configured network with the weights of a checkpoint; fetches and reads no others.

    Args:
        config: The configuration the checkpoint was trained with.
        image_size_px: Height and width of the input, in pixels.
        state: The checkpoint's state dict.
        location: The checkpoint, for an error.

    Raises:
        ConfigError: The weights are of another network.
    """
    model = build(config.model_copy(update={"pretrained": False, "weights": None}), image_size_px)
    fit(model, dict(state), location)
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
        overlay = {}
        if published:
            published_weights.check(name)
            cached = published_weights.in_cache(name)
            overlay = {} if cached is None else {"pretrained_cfg_overlay": {"file": str(cached)}}  # asks no server
        with quiet_downloads():
            trunk: nn.Module = timm.create_model(name, pretrained=published, num_classes=1, **size, **overlay)
    except FastpathError:
        raise
    except Exception as error:  # a network's own code raises whatever it likes over a size
        raise _refused(name, published, error) from None
    if not any(list(head.parameters()) for head in heads_of(trunk)):
        problem = f"'{name}' is an encoder: it has no classifier that could emit a logit"
        raise ConfigError("model.name", problem, "use a network that classifies images")
    _start_heads_small(trunk)
    return trunk


def _refused(name: str, published: bool, error: Exception) -> Exception:
    """Return what to say where timm cannot make a network."""
    if memory_exhausted(error) is not None:
        return error
    if isinstance(error, OSError):
        return ConfigError(
            "model.pretrained",
            f"the published weights of '{name}' cannot be fetched ({type(error).__name__})",
            "give a file with --set model.weights=FILE, or start from random ones with --set model.pretrained=false",
        )
    if published and "No pretrained weights exist" in str(error):
        return ConfigError(
            "model.pretrained",
            f"timm has no published weights for '{name}'",
            "use one of its tags, set model.pretrained=false, or give model.weights=FILE",
        )
    near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "'fastpath models' lists the names"
    return ConfigError("model.name", f"timm cannot make '{name}': {brief(error, 160)}", hint)


def _own_size_px(name: str) -> int | None:
    """Return the side that a network's published weights were trained at, None where timm does not say."""
    known = get_pretrained_cfg(name) if name != BASELINE else None
    return int(known.input_size[-1]) if known is not None and known.input_size else None


def _start_heads_small(trunk: nn.Module) -> None:
    """Draw the new heads as torch draws any linear layer: uniform within 1/√inputs.

    Some of timm's networks scale theirs by the number of outputs instead, which for a single one gives weights
    up to 1 and first logits of ±10: a training loss of 2 that takes an epoch to unlearn.
    """
    for head in heads_of(trunk):
        for module in head.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()


@contextlib.contextmanager
def quiet_downloads() -> Iterator[None]:
    """Keep the hub's retry messages off the screen: a failure is told once, by the error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
