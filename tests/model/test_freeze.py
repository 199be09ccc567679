import pytest
import torch
from torch import Tensor, nn

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError
from fastpath.model.freeze import LogitNetwork, freeze, parameter_groups, shared_copy
from fastpath.model.registry import build


def network(trainable: str, batchnorm: str = "adapt") -> LogitNetwork:
    return build(
        ModelConfig.model_validate(
            {"name": "resnet10t", "pretrained": False, "trainable": trainable, "batchnorm": batchnorm}
        ),
        32,
    )


def trained(model: nn.Module) -> set[str]:
    return {name.split(".")[1] for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_head_trains_only_the_classifier() -> None:
    model = network("head")
    head, trunk = parameter_groups(model)
    assert trained(model) == {"fc"}
    assert [tuple(p.shape) for p in head] == [(1, 512), (1,)]
    assert trunk == []


def test_a_child_trains_with_the_head() -> None:
    model = network("layer4")
    head, trunk = parameter_groups(model)
    assert trained(model) == {"layer4", "fc"}
    assert len(head) == 2
    assert len(trunk) == len(list(model.trunk.layer4.parameters()))


def test_a_module_trains_with_all_that_follows_it() -> None:
    assert trained(network("layer3")) == {"layer3", "layer4", "fc"}
    within = build(ModelConfig(name="test_efficientnet", pretrained=False, trainable="blocks.2"), 32)
    frozen = {name for name, parameter in within.trunk.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"conv_stem", "bn1", "blocks"}
    assert {name.split(".")[1] for name in frozen if name.startswith("blocks")} == {"0", "1"}
    assert trained(within) == {"blocks", "conv_head", "bn2", "classifier"}


def test_all_trains_every_parameter_once() -> None:
    model = network("all")
    head, trunk = parameter_groups(model)
    assert len({id(p) for p in head + trunk}) == len(head + trunk) == len(list(model.parameters()))


def test_an_unknown_child_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"model.trainable: found 'layer9', wanted head, all or one of conv1, .*layer4"
    ):
        network("layer9")


def test_autograd_records_nothing_before_the_first_trained_layer() -> None:
    model = network("layer4")
    seen: dict[str, Tensor] = {}
    for name in ("layer3", "layer4"):
        model.trunk.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output})
        )
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert seen["layer3"].grad_fn is None
    assert seen["layer4"].grad_fn is not None
    assert all(p.grad is None for p in model.trunk.layer3.parameters())


@pytest.mark.parametrize("batchnorm", ["adapt", "frozen"])
def test_statistics_of_the_frozen_trunk_move_only_when_they_adapt(batchnorm: str) -> None:
    model = network("layer4", batchnorm).eval().train()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running_mean" in name}
    model(torch.randn(4, 3, 32, 32))
    moved = {name.split(".")[1] for name, value in before.items() if not torch.equal(value, model.state_dict()[name])}
    assert "layer4" in moved  # the trained part always learns its statistics
    assert ("layer1" in moved) == (batchnorm == "adapt")


def test_evaluation_mode_reaches_every_module() -> None:
    model = network("head", "frozen").eval()
    assert not any(module.training for module in model.modules())


def test_freezing_can_be_changed() -> None:
    model = network("head", "frozen")
    freeze(model, "all", "frozen")
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_a_shared_copy_has_modules_of_its_own_and_the_same_tensors() -> None:
    model = network("layer4", "frozen")
    copied = shared_copy(model)
    assert {id(module) for module in copied.modules()}.isdisjoint(id(module) for module in model.modules())
    assert [id(value) for value in copied.state_dict(keep_vars=True).values()] == [
        id(value) for value in model.state_dict(keep_vars=True).values()
    ]
    inside = {id(module) for module in copied.modules()}
    assert copied.evaluated
    assert all(id(module) in inside for module in copied.evaluated)
