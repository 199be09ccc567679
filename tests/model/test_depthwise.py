"""Padding first changes how a depthwise convolution is computed, not what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastpath.config import ModelConfig
from fastpath.model.depthwise import PaddedConv2d, pad_first
from fastpath.model.freeze import LogitNetwork
from fastpath.model.registry import build


def network(name: str) -> LogitNetwork:
    torch.manual_seed(0)
    return build(ModelConfig(name=name, pretrained=False, trainable="all"), 64).double()


def padded(model: nn.Module) -> list[PaddedConv2d]:
    return [module for module in model.modules() if isinstance(module, PaddedConv2d)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize(("kernel", "bias"), [(3, True), (5, False), ((5, 3), True)])
def test_outputs_and_gradients_are_those_of_the_convolution(
    size: int, kernel: int | tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (sides[0] // 2, sides[1] // 2)
    plain = nn.Conv2d(6, 6, kernel, padding=padding, groups=6, bias=bias, dtype=torch.float64)
    images = torch.randn(2, 6, size, size, dtype=torch.float64, requires_grad=True)
    inputs = [images, *plain.parameters()]
    outputs, wanted = PaddedConv2d(plain)(images), plain(images)
    torch.testing.assert_close(outputs, wanted)
    for ours, theirs in zip(
        torch.autograd.grad(outputs.square().sum(), inputs),
        torch.autograd.grad(wanted.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_it_pads_first_only_where_the_kernel_is_wider_than_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def pad(images: Tensor, widths: tuple[int, ...]) -> Tensor:
        sizes.append(images.shape[-1])
        return original(images, widths)

    original = functional.pad
    monkeypatch.setattr(functional, "pad", pad)
    convolution = PaddedConv2d(nn.Conv2d(6, 6, 5, padding=2, groups=6))
    for size in (3, 4, 5, 6):
        convolution(torch.zeros(1, 6, size, size))
    assert sizes == [3, 4]


def test_a_network_trains_the_same_tensors_and_is_left_as_it_is() -> None:
    plain = network("tf_efficientnet_lite0").train()
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    images = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    plain(images).sum().backward()
    wanted = [parameter.grad for parameter in plain.parameters()]
    moved = {key: value.clone() for key, value in plain.state_dict().items()}
    plain.load_state_dict(state)
    plain.zero_grad()
    changed = pad_first(plain)
    changed(images).sum().backward()
    assert len(padded(changed)) == 12  # of 16; the four strided ones pad first as they are
    assert padded(plain) == []
    assert all(a is b for a, b in zip(changed.parameters(), plain.parameters(), strict=True))
    for parameter, gradient in zip(plain.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-9)
    for key, value in plain.state_dict().items():  # BatchNorm's statistics too
        torch.testing.assert_close(value, moved[key])


def test_a_network_without_depthwise_convolutions_is_handed_back() -> None:
    plain = network("test_resnet")
    assert pad_first(plain) is plain
