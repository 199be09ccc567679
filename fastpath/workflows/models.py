"""Which networks can be trained: timm's, and what is known of each without making it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import timm
import torch
from timm.models import get_pretrained_cfg

from fastpath.errors import ConfigError
from fastpath.model.registry import BASELINE

COUNTED = 20
"""Networks whose parameters are counted: each has to be made for that, on no device, in 0.05 to 1 s."""


@dataclass(frozen=True, slots=True)
class Model:
    """A network by the name that `model.name` takes.

    Attributes:
        name: timm's architecture and, after a point, the tag of its weights.
        pretrained: Whether there are published weights to start from.
        input_px: The side that these were trained at; 0 where timm does not say.
        million_parameters: Of the network for one logit; None where too many networks were asked for to count.
        licence: Of the published weights, as timm knows it; empty where it does not.
    """

    name: str
    pretrained: bool
    input_px: int
    million_parameters: float | None
    licence: str


def find(pattern: str = "*", *, pretrained: bool = False) -> list[Model]:
    """Return the networks whose name matches, sorted by name, without fetching anything.

    Args:
        pattern: With `*` and `?`; without either, any name that holds it.
        pretrained: Only those with published weights.

    Raises:
        ConfigError: None matches; the nearest name is told.
    """
    glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    tagged = timm.list_models(glob, pretrained=True)
    plain = [] if pretrained else [name for name in timm.list_models(glob) if not _is_tagged(name, tagged)]
    names = sorted({*tagged, *plain})
    if not pretrained and (glob == "*" or pattern in BASELINE):
        names.append(BASELINE)
    if not names:
        near = difflib.get_close_matches(pattern.strip("*"), timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "try a shorter pattern, such as 'resnet*'"
        raise ConfigError(pattern, "matches no network", hint)
    return [_describe(name, count=len(names) <= COUNTED) for name in names]


def _is_tagged(name: str, tagged: list[str]) -> bool:
    return any(each.split(".")[0] == name for each in tagged)


def _describe(name: str, *, count: bool) -> Model:
    known = None if name == BASELINE else get_pretrained_cfg(name)
    weights = known is not None and "." in name
    size = int(known.input_size[-1]) if known is not None and known.input_size else 0
    return Model(name, weights, size, _million_parameters(name) if count else None, (known and known.license) or "")


def _million_parameters(name: str) -> float | None:
    """Count the parameters of a network that is made without memory for them."""
    from fastpath.model.baseline import BaselineCNN

    with torch.device("meta"):
        try:
            network = BaselineCNN(96) if name == BASELINE else timm.create_model(name, num_classes=1)
        except (NotImplementedError, RuntimeError):  # a few look at values as they are made
            return None
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6
