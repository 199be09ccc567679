"""Depthwise convolutions whose kernel is wider than their map, made fast to train on a CPU.

For these oneDNN has no weight gradient of its own kind and takes a general one, six times slower or more:
EfficientNet-Lite0 has three of them, 5x5 on the 3x3 maps of 96-pixel patches. Padded first, they are like any other.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastpath.model.freeze import LogitNetwork, shared_copy


class PaddedConv2d(nn.Conv2d):
    """A convolution that pads its input before it convolves where its kernel is wider than that.

    Args:
        convolution: Padded with zeros; its parameters are shared.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            convolution.dilation,  # type: ignore[arg-type]
            convolution.groups,
            bias=False,
            device=torch.device("meta"),
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        self.train(convolution.training)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return what the convolution makes of float [N, C, H, W], up to rounding."""
        if min(images_NCHW.shape[2:]) >= max(self.kernel_size):
            return super().forward(images_NCHW)
        assert not isinstance(self.padding, str)
        height, width = self.padding
        padded = functional.pad(images_NCHW, (width, width, height, height))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def pad_first(model: LogitNetwork) -> LogitNetwork:
    """Return a network of the same tensors whose depthwise convolutions pad first; the same one if it has none."""
    if not any(_pads(module) for module in model.modules()):
        return model
    copied = shared_copy(model)
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if _pads(child):
                setattr(module, name, PaddedConv2d(child))
    return copied


def _pads(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a depthwise convolution that pads with zeros; timm's `Conv2dSame` pads first as it is."""
    return (
        type(module) is nn.Conv2d
        and 1 < module.groups == module.in_channels
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and any(module.padding)
    )
