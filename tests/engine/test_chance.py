"""A step is seeded by its position where its network draws, and not at all where it draws nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import DropBlock2d, DropPath
from torch import Tensor, nn
from torch.nn import functional

from fastpath.engine.chance import Chance
from fastpath.runtime import Runtime

CPU = Runtime(torch.device("cpu"))


class Functional(nn.Module):
    """Drops without a module that says so."""

    def forward(self, values: Tensor) -> Tensor:
        return functional.dropout(values, 0.5, self.training)


DRAWING: dict[str, Callable[[], nn.Module]] = {
    "dropout": nn.Dropout,
    "drop path": lambda: DropPath(0.5),
    "drop block": lambda: DropBlock2d(0.5, block_size=1),
    "functional": Functional,
    "noisy activation": lambda: nn.RReLU(),
}


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """What was seeded with, in order."""
    before, calls = Runtime.seed, []
    monkeypatch.setattr(Runtime, "seed", lambda self, *seed: calls.append(seed) or before(self, *seed))
    return calls


@pytest.mark.parametrize("name", DRAWING)
def test_what_draws_is_seeded_at_every_step(name: str, seeded: list[tuple[int, ...]]) -> None:
    chance, model, images = Chance(7, CPU), DRAWING[name]().train(), torch.randn(64, 2, 8, 8)
    drawn = []
    for epoch, step in ((0, 0), (0, 1), (0, 0), (1, 0)):
        with chance.at(epoch, step, num_images=64):
            drawn.append(model(images))
        torch.rand(3)  # what else this process draws does not matter
    assert seeded == [(7, 0, 0), (7, 0, 1), (7, 0, 0), (7, 1, 0)]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[3])


@pytest.mark.parametrize("model", [nn.Conv2d(2, 2, 1), nn.Dropout(0.0), DropPath(0.0), nn.BatchNorm2d(2)])
def test_what_draws_nothing_is_seeded_until_that_is_known(model: nn.Module, seeded: list[tuple[int, ...]]) -> None:
    chance = Chance(7, CPU)
    for step in range(5):
        with chance.at(0, step, num_images=4):
            model.train()(torch.randn(4, 2, 8, 8, generator=torch.Generator()))
    assert seeded == [(7, 0, 0)]


def test_a_step_without_images_decides_nothing(seeded: list[tuple[int, ...]]) -> None:
    chance, model = Chance(7, Runtime(torch.device("cpu"), rank=2, world_size=3)), nn.Dropout()
    for step, size in enumerate((0, 4, 4)):
        with chance.at(0, step, num_images=size):
            model(torch.ones(size, 3))
    assert seeded == [(7, 0, 0, 2), (7, 0, 1, 2), (7, 0, 2, 2)]


def test_the_numbers_are_those_of_a_seed_set_everywhere() -> None:
    CPU.seed(3, 1, 4)
    ours, state = torch.rand(5), CPU.generators[0].initial_seed()
    torch.manual_seed(state)
    assert torch.equal(torch.rand(5), ours)
    assert state > 2**32  # of 64 bits
