"""One pass through a network before it is used: whether it takes the input and emits one logit a patch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastpath.errors import ConfigError, memory_exhausted
from fastpath.model.freeze import LogitNetwork
from fastpath.text import brief

BATCH = 2
"""Images of the pass: with one, a network that loses the batch's dimension would look right."""

_passed_before: dict[tuple[str, int, int], tuple[str, ...]] = {}  # what passed in this process, with its lone norms


def probe(
    model: LogitNetwork, name: str, made_px: int, *, own_px: int | None = None, stage_px: int | None = None
) -> None:
    """Pass noise through a network, once a process for each network and size, and note what it needs of a batch.

    In evaluation mode and without gradients: parameters, BatchNorm's statistics, modes and the states of all random
    generators are left as they are.

    Args:
        model: Its `lone_norms` are set.
        name: What the configuration calls it.
        made_px: Height and width of the input that it was made for, in pixels.
        own_px: What its published weights were trained at, for the remedy; None where nobody says.
        stage_px: Height and width of a stage's input, where that is what to pass through it.

    Raises:
        ConfigError: The network does not take that input, or emits something other than a finite logit a patch.
    """
    size_px = stage_px or made_px
    key = (name, made_px, size_px)
    if key not in _passed_before:
        try:
            _passed_before[key] = _passed(model, name, size_px)
        except _RefusalError as refusal:
            raise _explained(name, made_px, size_px, own_px, refusal) from None
    model.lone_norms = tuple(sorted({*model.lone_norms, *_passed_before[key]}))


class _RefusalError(Exception):
    """A network's own code does not take an input."""


def _passed(model: LogitNetwork, name: str, size_px: int) -> tuple[str, ...]:
    """Return the names of trunk modules that saw one place only."""
    like = next(model.parameters())
    noise = torch.randn(BATCH, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    mode = model.training
    try:
        with torch.no_grad(), _random_states_kept(like.device), _lone_norms(model.trunk) as lone:
            emitted: object = model.eval().trunk(noise.to(like.device, like.dtype))
    except Exception as error:  # a network raises whatever it likes over a size that it was not made for
        if memory_exhausted(error) is not None:
            raise
        raise _RefusalError(brief(error, 120)) from None
    finally:
        model.train(mode)
    _check_logits(emitted, name)
    return tuple(lone)


def _check_logits(emitted: object, name: str) -> None:
    """Refuse whatever cannot be read as one logit a patch."""
    if not isinstance(emitted, Tensor):
        description = f"a {type(emitted).__name__}"
    elif emitted.shape != (BATCH, 1):
        description = f"{list(emitted.shape)}"
    elif not bool(torch.isfinite(emitted).all()):
        raise ConfigError(
            "model.name", f"'{name}' emits NaN or infinity for noise", "use another network or other weights"
        )
    else:
        return
    problem = f"'{name}' emits {description} for {BATCH} images, wanted one logit each, [{BATCH}, 1]"
    raise ConfigError("model.name", problem, "use a network that classifies images")


def _explained(name: str, made_px: int, size_px: int, own_px: int | None, refusal: _RefusalError) -> ConfigError:
    problem = f"'{name}' does not take inputs of {size_px} pixels ({refusal})"
    if size_px != made_px:
        return ConfigError("stages", problem, "keep one data.image_size_px for all stages")
    if own_px and own_px != size_px:
        return ConfigError("data.image_size_px", problem, f"use data.image_size_px={own_px}, its own size")
    return ConfigError("model.name", problem, "use another network, or another data.image_size_px")


@contextmanager
def _random_states_kept(device: torch.device) -> Iterator[None]:
    """Let a pass draw from the CPU's and the device's generators without moving them."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        with torch.random.fork_rng(devices=[device], device_type=device.type):
            yield


@contextmanager
def _lone_norms(trunk: nn.Module) -> Iterator[list[str]]:
    """Gather the names of BatchNorms that are given a single place a sample: of one sample they have no variance."""
    lone: list[str] = []
    names = {module: name for name, module in trunk.named_modules()}

    def note(module: Any, given: tuple[object, ...]) -> None:  # noqa: ANN401 (torch's hook)
        if given and isinstance(given[0], Tensor) and given[0].numel() <= BATCH * module.num_features:
            lone.append(names[module])

    norms = [module for module in names if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    hooks = [module.register_forward_pre_hook(note) for module in norms]
    try:
        yield lone
    finally:
        for hook in hooks:
            hook.remove()
