"""The network that trains, asking less of the device at each step: frozen weights cast once, counters counted at once.

Under autocast a convolution casts its float32 weights at every forward pass, frozen ones too, and each BatchNorm adds 1
to a counter of its own: in ResNet-50 with `layer4` trained 43 casts and 53 additions a step, a kernel each.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeGuard

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn

from fastpath.model.depthwise import PaddedConv2d
from fastpath.model.freeze import LogitNetwork, shared_copy
from fastpath.runtime import Runtime

CASTING = (nn.Conv2d, nn.Linear, PaddedConv2d, Conv2dSame)
"""Layers that do nothing with their tensors but what autocast casts them for. Of these very types: one derived from
them may take its weights' variance first, as networks without BatchNorm do."""
COUNTING = (nn.BatchNorm2d, BatchNormAct2d)
"""BatchNorms that count with `num_batches_tracked` where they have it, and use it for nothing else."""


def lean(model: LogitNetwork, image_size_px: int, runtime: Runtime) -> LogitNetwork:
    """Return a network of the same results, bit for bit, that shares all with `model` but its frozen weights.

    Those are held in the runtime's precision, where a layer would cast them to it. `num_batches_tracked` of `model`
    goes on being counted, by one operation for all layers.

    Args:
        model: Frozen as it is to train; left as it is.
        image_size_px: A side of input that it takes.
        runtime: Device and precision.
    """
    network = shared_copy(model)
    dtype = getattr(torch, runtime.precision)
    casting = [module for module in network.modules() if _casts(module)] if dtype != torch.float32 else []
    for module in casting:
        _cast(module, dtype)
    try:
        calls = _calls(network, image_size_px, runtime)
    except RuntimeError:  # a network that takes a layer's weights for something of its own
        network = shared_copy(model)
        calls = _calls(network, image_size_px, runtime)
    frozen = {id(module) for part in network.evaluated for module in part.modules()}
    for module in network.modules():
        if id(module) not in frozen and calls[module] == 1 and _counts(module):
            assert module.num_batches_tracked is not None
            network.counters.append(module.num_batches_tracked)
            module.num_batches_tracked = None
    return network


def _casts(module: nn.Module) -> bool:
    """Whether a layer is frozen and autocast casts its weights."""
    return type(module) in CASTING and not any(parameter.requires_grad for parameter in module.parameters())


def _cast(module: nn.Module, dtype: torch.dtype) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        setattr(module, name, nn.Parameter(parameter.to(dtype), requires_grad=False))


def _counts(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether a layer counts its batches for nothing: without a momentum it averages over them."""
    return type(module) in COUNTING and module.momentum is not None and module.num_batches_tracked is not None


def _calls(network: LogitNetwork, image_size_px: int, runtime: Runtime) -> Counter[nn.Module]:
    """Return how often each layer is called in a forward pass; run in evaluation mode, which changes nothing."""
    calls: Counter[nn.Module] = Counter()
    hooks = [
        module.register_forward_pre_hook(lambda module, _inputs: calls.update([module]))
        for module in network.modules()
        if type(module) in COUNTING
    ]
    mode, side = network.training, image_size_px
    images = torch.zeros(2, 3, side, side, device=runtime.device).contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad(), runtime.autocast():
            network.eval()(images)
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    return calls
