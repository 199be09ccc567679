"""A folded network gives the logits and gradients of the plain one, and leaves the plain one whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError
from fastpath.model.fold import fold_frozen
from fastpath.model.freeze import LogitNetwork, freeze
from fastpath.model.registry import build

SIZE = 32
TOLERANCE = 1e-4  # of a logit, with weights that spread activations over a few units


def network(name: str, trainable: str) -> LogitNetwork:
    torch.manual_seed(0)
    model = build(ModelConfig(name=name, pretrained=False, trainable=trainable, batchnorm="folded"), SIZE)
    for module in model.modules():  # as trained: statistics that are neither 0 nor 1
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("resnet10t", "layer4"),
        ("resnet10t", "head"),
        ("tf_efficientnet_lite0", "head"),
        ("test_efficientnet", "head"),
        ("test_efficientnet", "blocks.2"),
    ],
)
def test_logits_are_the_same_with_fewer_layers(name: str, trainable: str) -> None:
    plain = network(name, trainable)
    folded = fold_frozen(plain, SIZE)
    assert norms(folded) < norms(plain)
    if trainable == "head":
        assert norms(folded) == 0
    with torch.no_grad():
        wanted, logits = plain.eval()(images()), folded.eval()(images())
    assert (logits - wanted).abs().max() <= TOLERANCE * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize(("name", "trainable"), [("resnet10t", "layer4"), ("test_efficientnet", "blocks.2")])
def test_gradients_and_steps_reach_the_plain_network(name: str, trainable: str) -> None:
    # In float64: in float32 a rounding that moves an activation across 0 moves a whole gradient.
    plain = network(name, trainable).double()
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    plain.train()(images().double()).sum().backward()
    wanted = {name: p.grad.clone() for name, p in plain.named_parameters() if p.grad is not None}
    plain.load_state_dict(state)  # the statistics of layer4 have moved
    plain.zero_grad()
    folded = fold_frozen(plain, SIZE).train()
    folded(images().double()).sum().backward()
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert gradients.keys() == wanted.keys()
    rounding = 1e-15 * max(float(gradient.abs().max()) for gradient in wanted.values())  # a bias before a norm has none
    for key, gradient in wanted.items():
        atol = max(rounding, 1e-9 * float(gradient.abs().max()))
        assert torch.allclose(gradients[key], gradient, rtol=1e-6, atol=atol), key
    torch.optim.SGD([p for p in folded.parameters() if p.requires_grad], lr=0.1).step()
    with torch.no_grad():
        assert torch.allclose(folded.eval()(images().double()), plain.eval()(images().double()))


def test_the_plain_network_stays_whole() -> None:
    plain = network("resnet10t", "layer4")
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    fold_frozen(plain, SIZE)
    assert before.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in before.items())


def test_no_grad_around_the_frozen_trunk_changes_no_gradient_bit_for_bit() -> None:
    gradients = []
    for explicit in (False, True):
        model = network("resnet10t", "layer4").train()
        for name, child in model.trunk.named_children():
            if explicit and name not in {"layer4", "global_pool", "fc"}:
                child.forward = torch.no_grad()(child.forward)  # type: ignore[method-assign]
        model(images()).sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 2
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


class Forked(nn.Module):
    """Uses a convolution's output twice, so that its BatchNorm cannot be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        convolved = self.conv(images_NCHW)
        return self.fc((self.norm(convolved) * 3 + convolved).mean((2, 3)))

    def get_classifier(self) -> nn.Module:
        return self.fc


def test_a_network_that_cannot_be_folded_is_refused() -> None:
    model = LogitNetwork(Forked())
    model.trunk.norm.running_mean.fill_(5.0)
    freeze(model, "head", "folded")
    with pytest.raises(ConfigError, match=r"cannot be folded; use model\.batchnorm=frozen"):
        fold_frozen(model, SIZE)


def test_nothing_is_folded_where_all_is_trained() -> None:
    plain = network("resnet10t", "all")
    assert norms(fold_frozen(plain, SIZE)) == norms(plain)
