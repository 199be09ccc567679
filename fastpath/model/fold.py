"""BatchNorm of a frozen trunk, multiplied into the convolutions before it: fewer passes over the activations.

What trains are the very same tensors as in the plain network, and that one stays whole: it is what is saved and scored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastpath.errors import ConfigError, memory_exhausted
from fastpath.model.freeze import LogitNetwork, shared_copy

TOLERANCE = 1e-3
"""Largest difference of a logit that folding may make, as a share of the logits' scale: rounding makes 1e-5."""


def fold_frozen(model: LogitNetwork, image_size_px: int) -> LogitNetwork:
    """Return a network of the same logits that shares all trained tensors with `model` and has the rest folded.

    Args:
        model: Frozen as it is to train, with its BatchNorm in evaluation mode where frozen; left as it is.
        image_size_px: A side of input that it takes.

    Returns:
        The network to train with; equal to `model` up to rounding whatever the trained parts become.

    Raises:
        ConfigError: The network cannot be folded: it uses a convolution's output besides its BatchNorm.
    """
    folded = shared_copy(model)
    mode = folded.training
    folded.eval()
    images = torch.randn(2, 3, image_size_px, image_size_px, generator=torch.Generator().manual_seed(0))
    like = next(model.parameters())
    images = images.to(like.device, like.dtype, memory_format=torch.channels_last)
    try:
        before, after = _fold_all(folded, images)
    except Exception as error:  # a network that asks more of its BatchNorms than to be called raises as it likes
        if memory_exhausted(error) is not None:
            raise
        raise _unfoldable() from None
    if not bool((after - before).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1.0)):
        raise _unfoldable()
    folded.train(mode)
    return folded


def _unfoldable() -> ConfigError:
    return ConfigError("model.batchnorm", "this network cannot be folded", "use model.batchnorm=frozen")


@torch.no_grad()
def _fold_all(folded: LogitNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Fold what is frozen, in place; return the logits before and after."""
    frozen = {id(module) for part in folded.evaluated for module in part.modules()}
    pairs, before = _pairs(folded, images)
    for convolution, norm in pairs:
        if {id(convolution), id(norm)} <= frozen:
            _fold(convolution, norm)
            _replace(folded, norm)
    return before, folded(images)


def _pairs(model: nn.Module, images: Tensor) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d]], Tensor]:
    """Return each BatchNorm that is given a convolution's output, with that convolution; and the logits."""
    made: list[tuple[Tensor, nn.Conv2d]] = []
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def convolved(module: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        made.append((output, module))  # holding the output keeps it another object than all later ones

    def normalised(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        pairs.extend((convolution, module) for output, convolution in made if output is inputs[0])

    hooks = [m.register_forward_hook(convolved) for m in model.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(normalised) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return pairs, logits


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Scale and shift a convolution as its BatchNorm would, computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = -norm.running_mean.double() if convolution.bias is None else convolution.bias - norm.running_mean.double()
    bias = bias * scale + (0.0 if norm.bias is None else norm.bias.double())
    weight = (convolution.weight.double() * scale[:, None, None, None]).to(convolution.weight.dtype)
    weight = weight.contiguous(memory_format=torch.channels_last)
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False)


def _replace(model: nn.Module, norm: nn.BatchNorm2d) -> None:
    """Put in a BatchNorm's place what it does besides: timm's `BatchNormAct2d` also activates."""
    parts = (getattr(norm, name, None) for name in ("drop", "act"))
    rest = nn.Sequential(*(part for part in parts if isinstance(part, nn.Module)))
    for module in model.modules():
        for name, child in module.named_children():
            if child is norm:
                setattr(module, name, rest if len(rest) else nn.Identity())
