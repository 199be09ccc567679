"""The averaged network follows the trained one, by the decay that was asked for."""

from __future__ import annotations

import torch
from torch import nn

from fastpath.engine.ema import Average


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
    average, wanted = Average(model, 0.5), 0.0
    for step in range(40):
        average.update(moved(model, float(step)))
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    assert average.num_updates == 40
    assert torch.allclose(average.model[0].weight, torch.full((1, 2), wanted))
    assert torch.allclose(average.model[1].running_mean, torch.tensor([wanted]))


def test_a_constant_stays_and_the_followed_network_is_untouched() -> None:
    model = moved(network(0.3), 0.3)
    average = Average(model, 0.9)
    for _ in range(3):
        average.update(model)
    assert torch.equal(average.model[0].weight, model[0].weight)
    assert model.training
    assert model[0].weight.requires_grad
    assert not average.model.training


def test_going_on_from_saved_averages_changes_nothing() -> None:
    model = network(0.0)
    whole = Average(model, 0.9)
    for step in range(4):
        whole.update(moved(model, float(step)))
    first = Average(model, 0.9)
    first.load(whole.model.state_dict(), whole.num_updates)
    for average in (whole, first):
        average.update(moved(model, 9.0))
    assert torch.equal(whole.model[0].weight, first.model[0].weight)
