"""The averaged network follows the trained one, by the decay that was asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fastpath.engine.ema import ModelEMA


def network(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.constant_(model[0].weight, value)
    return model


def moved(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        model[0].weight.fill_(value)
        model[1].running_mean.fill_(value)
        model[1].num_batches_tracked.fill_(5)
    return model


def test_the_first_decays_are_low_and_the_later_ones_as_asked() -> None:
    model = network(0.0)
    average, wanted = ModelEMA(model, 0.5), 0.0
    for step in range(40):
        average.update(moved(model, float(step)))
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    assert average.num_updates == 40
    assert torch.allclose(average.model[0].weight, torch.full((1, 2), wanted))
    assert torch.allclose(average.model[1].running_mean, torch.tensor([wanted]))


def test_a_constant_stays_and_the_followed_network_is_untouched() -> None:
    model = moved(network(0.3), 0.3)
    average = ModelEMA(model, 0.9)
    for _ in range(3):
        average.update(model)
    assert torch.equal(average.model[0].weight, model[0].weight)
    assert model.training
    assert model[0].weight.requires_grad
    assert not average.model.training


def test_going_on_from_saved_averages_changes_nothing() -> None:
    model = network(0.0)
    whole = ModelEMA(model, 0.9)
    for step in range(4):
        whole.update(moved(model, float(step)))
    first = ModelEMA(model, 0.9)
    first.load(whole.model.state_dict(), whole.num_updates)
    for average in (whole, first):
        average.update(moved(model, 9.0))
    assert torch.equal(whole.model[0].weight, first.model[0].weight)


class Staged(nn.Module):
    """Two parts, of which one can be frozen, its BatchNorm in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = network(0.1), nn.Linear(1, 1)
        self.register_buffer("scale", torch.ones(1))

    def frozen(self, frozen: bool) -> Staged:
        self.train()
        self.body.train(not frozen).requires_grad_(not frozen)
        return self


def stepped(model: Staged, generator: torch.Generator) -> Staged:
    """Move at random what training would move."""
    norm = model.body[1]
    with torch.no_grad():
        tensors = [parameter for parameter in model.parameters() if parameter.requires_grad]
        tensors += [norm.running_mean, norm.running_var] if norm.training else []
        for tensor in tensors:
            tensor.add_(torch.randn(tensor.shape, generator=generator))
    return model


@torch.no_grad()
def formerly(own: nn.Module, model: nn.Module, num_updates: int) -> None:
    """Average everything there is, as was done before."""
    averages = own.state_dict()
    moving = [(averages[name], value) for name, value in model.state_dict().items() if value.is_floating_point()]
    decay = min(0.9, (1 + num_updates) / (10 + num_updates))
    torch._foreach_lerp_([pair[0] for pair in moving], [pair[1] for pair in moving], 1.0 - decay)


def test_following_what_moves_is_following_all_whatever_is_frozen_when() -> None:
    model, generator = Staged().frozen(True), torch.Generator().manual_seed(0)
    average, oracle = ModelEMA(model, 0.9), copy.deepcopy(model)
    for step in range(40):
        if step % 10 == 0:
            average.follow(model.frozen(frozen=step // 10 % 2 == 0))
        if step == 25:  # as resumed while what is frozen is still behind
            saved = copy.deepcopy(average.model.state_dict())
            average = ModelEMA(model, 0.9)
            average.load(saved, step)
        average.update(stepped(model, generator))
        formerly(oracle, model, step)
        for name, value in average.model.state_dict().items():
            assert torch.equal(value, oracle.state_dict()[name]), (step, name)


def test_of_a_frozen_part_nothing_is_followed() -> None:
    model = Staged().frozen(True)
    average = ModelEMA(model, 0.9)
    assert len(average._averages) == 3  # the head's two, and the buffer of the network itself
    average.follow(model.frozen(False))
    assert len(average._averages) == 8  # the body's weight and BatchNorm's two parameters and two statistics besides


@pytest.mark.parametrize("training", [True, False])
def test_the_lists_are_made_once(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Staged().train(training)
    average = ModelEMA(model, 0.9)
    before: Callable[..., Any] = nn.Module.state_dict
    calls: list[object] = []
    monkeypatch.setattr(
        nn.Module, "state_dict", lambda self, *args, **kw: calls.append(self) or before(self, *args, **kw)
    )
    for _ in range(3):
        average.update(model)
    assert not calls
    other = Staged()
    average.update(other)  # another network is looked at anew
    assert calls
