import math

import pytest
import torch
from torch import nn

from fastpath.config import OptimConfig, ScheduleConfig
from fastpath.engine.optim import learning_rates, make_optimizer, make_schedule, wind_on


def rates(kind: str, epochs: int, steps: int = 2, scores: list[float] | None = None, **values: object) -> list[float]:
    """Learning rate of each step of a run whose highest rate is 1."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer([parameter], [], OptimConfig(lr_head=1.0))
    config = ScheduleConfig.model_validate({"kind": kind} | values)
    schedule = make_schedule(optimizer, config, num_epochs=epochs, total_steps=epochs * steps)
    seen = []
    for epoch in range(epochs):
        for _ in range(steps):
            seen.append(learning_rates(optimizer)["head"])
            parameter.grad = torch.ones(1)
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(scores[epoch] if scores else 0.5)
    return seen


def by_epoch(seen: list[float], steps: int = 2) -> list[float]:
    assert all(seen[i] == seen[i - i % steps] for i in range(len(seen)))
    return seen[::steps]


def test_step_falls_every_so_many_epochs() -> None:
    assert by_epoch(rates("step", 7, step_epochs=3, gamma=0.2)) == pytest.approx([1, 1, 1, 0.2, 0.2, 0.2, 0.04])


def test_the_notebooks_cosine_is_a_wave_that_stands_still_in_epoch_6() -> None:
    seen = by_epoch(rates("cosine", 15, t_max_epochs=5))
    wanted = [(1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(15)]
    assert seen == pytest.approx(wanted, abs=1e-12)
    assert seen[5] == pytest.approx(0, abs=1e-12)
    assert seen[10] == pytest.approx(1)


def test_cosine_spans_the_run_unless_told() -> None:
    seen = by_epoch(rates("cosine", 4))
    assert seen == pytest.approx([(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)])


def test_plateau_halves_after_more_than_patience_epochs_without_a_better_auc() -> None:
    scores = [0.9, 0.8, 0.8, 0.8, 0.95, 0.8]
    assert by_epoch(rates("plateau", 6, scores=scores, factor=0.5, patience_epochs=2)) == [1, 1, 1, 1, 0.5, 0.5]


def test_constant_stays() -> None:
    assert set(rates("constant", 8)) == {1.0}


def test_onecycle_moves_each_step_up_and_down() -> None:
    seen = rates("onecycle", 4, steps=25, warmup_share=0.3)
    peak = seen.index(max(seen))
    assert 28 <= peak <= 30
    assert seen[peak] == pytest.approx(1.0, abs=2e-3)
    assert seen[0] == pytest.approx(1 / 25)
    assert seen[-1] < 1e-3
    assert seen[: peak + 1] == sorted(seen[: peak + 1])
    assert seen[peak:] == sorted(seen[peak:], reverse=True)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 3, 9, 10])
def test_onecycle_holds_for_any_length(share: float, total: int) -> None:
    assert len(rates("onecycle", 1, steps=total, warmup_share=share)) == total


@pytest.mark.parametrize(("kind", "wanted"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_head_and_trunk_have_their_own_rates(kind: str, wanted: type) -> None:
    head, trunk = [nn.Parameter(torch.zeros(1))], [nn.Parameter(torch.zeros(2))]
    config = OptimConfig.model_validate({"name": kind, "lr_head": 1e-3, "lr_trunk": 1e-5, "weight_decay": 0.1})
    optimizer = make_optimizer(head, trunk, config)
    assert isinstance(optimizer, wanted)
    assert learning_rates(optimizer) == {"head": 1e-3, "trunk": 1e-5}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1]
    assert [group["params"] for group in optimizer.param_groups] == [head, trunk]


def test_adam_takes_torchs_steps() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(5), torch.randn(4, 5)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = make_optimizer([ours], [], OptimConfig(lr_head=0.01, weight_decay=0.1))
    reference = torch.optim.Adam([theirs], lr=0.01, weight_decay=0.1)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    assert torch.allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("kind", ["constant", "step", "cosine", "onecycle", "warmup_cosine"])
@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (1, 3), (2, 6), (2, 7)])
def test_a_schedule_is_wound_on_to_where_it_moves_by_itself(kind: str, epochs: int, steps: int) -> None:
    optimizers = [make_optimizer(list(nn.Linear(2, 1).parameters()), [], OptimConfig()) for _ in range(2)]
    config = ScheduleConfig.model_validate({"kind": kind, "step_epochs": 2})
    moved, wound = (make_schedule(each, config, num_epochs=4, total_steps=12) for each in optimizers)
    for step in range(1, steps + 1):
        moved.after_step()
        if step % 3 == 0:
            moved.after_epoch(0.5)
    assert wind_on(wound, epochs, steps)
    groups = [{key: value for key, value in each.param_groups[0].items() if key != "params"} for each in optimizers]
    assert groups[0] == groups[1]
    assert learning_rates(optimizers[1]) == learning_rates(optimizers[0])


def test_a_schedule_by_scores_is_not_wound_on() -> None:
    optimizer = make_optimizer(list(nn.Linear(2, 1).parameters()), [], OptimConfig())
    assert not wind_on(make_schedule(optimizer, ScheduleConfig(kind="plateau"), num_epochs=4, total_steps=12), 2, 6)
