"""The lean network trains as the plain one does, bit for bit, and the plain one is kept as it would have become."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastpath.config import ModelConfig
from fastpath.engine.step import train_step
from fastpath.model.batchnorm import RankBatchNorm2d, synchronise
from fastpath.model.depthwise import pad_first
from fastpath.model.fold import fold_frozen
from fastpath.model.freeze import LogitNetwork, freeze, parameter_groups
from fastpath.model.lean import lean
from fastpath.model.registry import build
from fastpath.runtime import Precision, Runtime
from fastpath.types import Batch

SIZE = 32


def runtime(precision: Precision) -> Runtime:
    return Runtime(torch.device("cpu"), precision)


def network(name: str, trainable: str, batchnorm: Any = "adapt") -> LogitNetwork:
    torch.manual_seed(0)
    return build(ModelConfig(name=name, pretrained=False, trainable=trainable, batchnorm=batchnorm), SIZE)


def batch(step: int, size: int = 5) -> Batch:
    images = torch.randn(size, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(step))
    return Batch(images, (torch.arange(size) % 2).float(), torch.arange(size))


def trained(model: LogitNetwork, net: nn.Module, resolved: Runtime, accumulate: int = 1) -> list[Tensor]:
    """Take three steps and return their losses."""
    groups = parameter_groups(model)
    optimizer = torch.optim.Adam([parameter for group in groups for parameter in group], lr=1e-2, fused=True)
    net.train()
    losses = []
    for step in range(3):
        resolved.seed(step)
        losses.append(train_step(net, batch(step), optimizer, resolved.grad_scaler(), resolved, accumulate=accumulate))
    return losses


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "trainable", "batchnorm"),
    [
        ("test_resnet", "layer4", "adapt"),
        ("test_resnet", "layer4", "frozen"),
        ("test_resnet", "layer4", "folded"),
        ("test_resnet", "all", "adapt"),
        ("test_efficientnet", "blocks.2", "adapt"),
        ("test_vit", "blocks.4", "adapt"),
        ("baseline_cnn", "head", "adapt"),
    ],
)
def test_steps_are_those_of_the_plain_network(name: str, trainable: str, batchnorm: str, precision: Precision) -> None:
    resolved = runtime(precision)
    plain = network(name, trainable, batchnorm)
    model = copy.deepcopy(plain)
    folded = [pad_first(fold_frozen(each, SIZE) if batchnorm == "folded" else each) for each in (plain, model)]
    wanted = trained(plain, folded[0], resolved, accumulate=2)
    losses = trained(model, lean(folded[1], SIZE, resolved), resolved, accumulate=2)
    assert torch.equal(torch.stack(losses), torch.stack(wanted))
    ours, theirs = model.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value.dtype == theirs[key].dtype
        assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_only_frozen_layers_are_cast_and_all_else_is_shared(precision: Precision, dtype: torch.dtype) -> None:
    model = network("test_resnet", "layer4")
    made = lean(model, SIZE, runtime(precision))
    before = dict(model.named_parameters())
    for name, parameter in made.named_parameters():
        convolution = parameter.dim() == 4
        if before[name].requires_grad or not convolution or precision == "float32":
            assert parameter is before[name]
        else:
            assert parameter.dtype == dtype
            assert not parameter.requires_grad
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert len({id(buffer) for buffer in made.buffers()} - {id(buffer) for buffer in model.buffers()}) == 0


class Counted(TorchDispatchMode):
    """Counts casts from float32, and additions to integers."""

    def __init__(self) -> None:
        super().__init__()
        self.casts, self.bumps = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.casts += func is torch.ops.aten._to_copy.default and args[0].dtype == torch.float32
        self.bumps += func.overloadpacket in {torch.ops.aten.add_, torch.ops.aten._foreach_add_}
        return func(*args, **kwargs or {})


def test_a_forward_pass_casts_what_trains_and_counts_once() -> None:
    resolved, model = runtime("bfloat16"), network("test_resnet", "layer4").train()
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    trained_ones = [module for module in convolutions if module.weight.requires_grad]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = []
    for net in (model, lean(model, SIZE, resolved).train()):
        with Counted() as counted, resolved.autocast():
            net(batch(0).images_NCHW)
        seen.append((counted.casts, counted.bumps))
    assert seen[0][1] - len(norms) == seen[1][1] - 1  # what residual connections add is the same
    assert seen[0][0] - seen[1][0] == len(convolutions) - len(trained_ones) > 0


class Odd(nn.Module):
    """Takes a layer's weights for something of its own, and calls one BatchNorm twice and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.averaging = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=None)
        self.unused, self.head = BatchNormAct2d(4), nn.Linear(4, 1)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        values = self.norm(self.norm(self.first(images)))
        mixed = self.averaging(values).mean((2, 3)).float() @ self.first.weight.mean((2, 3)).new_ones(4, 4)
        with torch.autocast("cpu", enabled=False):  # noqa: TID251 (a network may)
            return self.head(mixed + self.first.weight.sum((1, 2, 3)) @ torch.eye(4))


def test_a_network_that_cannot_be_cast_is_left_in_float32_and_counts_as_before() -> None:
    resolved, model = runtime("bfloat16"), LogitNetwork(Odd())
    freeze(model, "head", "adapt")
    plain = copy.deepcopy(model)
    made = lean(model, SIZE, resolved)
    assert all(parameter.dtype == torch.float32 for parameter in made.parameters())
    assert not made.counters
    losses = [trained(each, net, resolved) for each, net in ((plain, plain), (model, made))]
    assert torch.equal(torch.stack(losses[0]), torch.stack(losses[1]))
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_share_without_samples_counts_nothing() -> None:
    model = network("test_resnet", "all")
    made = lean(model, SIZE, runtime("float32")).train()
    assert made.counters
    with torch.no_grad():
        for norm in made.modules():
            norm.train(not isinstance(norm, nn.BatchNorm2d))
        made.training = True
        made(batch(0, size=0).images_NCHW)
        assert all(counter == 0 for counter in made.counters)
        made(batch(0).images_NCHW)
        assert all(counter == 1 for counter in made.counters)


def test_batchnorm_over_ranks_counts_for_itself() -> None:
    model = network("test_resnet", "all").train()
    synchronise(model, lambda values: values.clone())
    made = lean(model, SIZE, runtime("float32")).train()
    assert not made.counters
    made(batch(0).images_NCHW)
    counters = [norm.num_batches_tracked for norm in model.modules() if isinstance(norm, RankBatchNorm2d)]
    assert counters
    assert all(counter == 1 for counter in counters)
