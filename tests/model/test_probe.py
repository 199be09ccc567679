"""The pass before use: what it refuses, and that it leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastpath.errors import ConfigError
from fastpath.model import probe as module
from fastpath.model.freeze import LogitNetwork, freeze
from fastpath.model.probe import probe


class Trunk(nn.Module):
    """A network that emits whatever is asked for."""

    def __init__(self, emit: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.norm, self.drop, self.fc = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(3, 1)
        self.squeezed, self.emit = nn.BatchNorm2d(3), emit

    def forward(self, images: Tensor) -> Any:
        torch.rand(1)  # a network that draws in evaluation mode too
        pooled = self.squeezed(self.drop(self.norm(images)).mean((2, 3), keepdim=True))
        return self.emit(self.fc(pooled.flatten(1)))

    def get_classifier(self) -> nn.Module:
        return self.fc


@pytest.fixture(autouse=True)
def _nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_passed_before", {})


def refuse(_logits: Tensor) -> None:
    raise IndexError("a line\nand another")


@pytest.mark.parametrize(
    ("emit", "message"),
    [
        (lambda y: (y, y), "emits a tuple for 2 images"),
        (lambda y: [y], "emits a list"),
        (lambda y: {"logits": y}, "emits a dict"),
        (lambda y: None, "emits a NoneType"),
        (lambda y: y[:, 0], r"emits \[2\] for"),
        (lambda y: y.expand(2, 2), r"emits \[2, 2\]"),
        (lambda y: y[:1], r"emits \[1, 1\]"),
        (lambda y: y[:, :, None, None].expand(2, 1, 3, 3), r"emits \[2, 1, 3, 3\]"),
        (lambda y: y * torch.nan, "emits NaN or infinity"),
        (refuse, r"does not take inputs of 16 pixels \(a line and another\); use data.image_size_px=48, its own size"),
    ],
)
def test_what_is_not_a_logit_a_patch_is_refused_in_one_line(emit: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        probe(LogitNetwork(Trunk(emit)), "odd", 16, own_px=48)
    assert "\n" not in str(caught.value)
    assert "'odd'" in str(caught.value)


def test_random_states_statistics_and_modes_stay_as_they_are() -> None:
    model = LogitNetwork(Trunk(lambda y: y))
    model.trunk.norm.eval()  # type: ignore[operator,union-attr]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    probe(model, "plain", 16)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_one_pass_is_enough_for_a_process_and_size() -> None:
    passes: list[int] = []

    def emit(logits: Tensor) -> Tensor:
        passes.append(len(logits))
        return logits

    for _ in range(3):
        model = LogitNetwork(Trunk(emit))
        probe(model, "plain", 16)
        assert model.lone_norms == ("squeezed",)
    probe(model, "plain", 16, stage_px=24)
    assert passes == [2, 2]


def test_batch_norm_over_samples_alone_needs_two_of_them_unless_it_is_frozen() -> None:
    model = LogitNetwork(Trunk(lambda y: y))
    probe(model, "plain", 16)
    assert model.least_batch == 2
    with pytest.raises(ValueError, match="more than 1 value"):
        model(torch.randn(1, 3, 16, 16))
    freeze(model, "head", "frozen")
    assert model.least_batch == 1
    assert model(torch.randn(1, 3, 16, 16)).shape == (1,)


def test_memory_that_runs_out_is_told_as_that() -> None:
    def exhaust(_logits: Tensor) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="allocate memory"):
        probe(LogitNetwork(Trunk(exhaust)), "large", 16)
