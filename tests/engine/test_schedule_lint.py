"""What is said of schedules before a run, and that the rates told are those that training takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fastpath.config import Config, parse
from fastpath.engine.optim import learning_rates, make_optimizer, make_schedule
from fastpath.engine.schedule_lint import lint, planned_rates, rate_share
from fastpath.engine.stages import build_stages

NUM_TRAIN = 50


def config(schedule: dict[str, Any], epochs: int, **tables: Any) -> Config:
    train = {"epochs": epochs, **tables.pop("train", {})}
    values = {"schedule": schedule, "train": train, "data": {"batch_size": 16}, "optim": {"lr_head": 1e-3}}
    return parse(values | tables)


def warnings(schedule: dict[str, Any], epochs: int, **train: Any) -> tuple[str, ...]:
    settings = config(schedule, epochs, train=train)
    return lint(build_stages(settings, NUM_TRAIN), settings.train)


@pytest.mark.parametrize("epochs", [1, 2, 7])
@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "constant"},
        {"kind": "plateau"},
        {"kind": "step", "step_epochs": 2, "gamma": 0.5},
        {"kind": "cosine"},
        {"kind": "cosine", "t_max_epochs": 3},
        {"kind": "onecycle"},
        {"kind": "onecycle", "warmup_share": 0.0},
        {"kind": "onecycle", "warmup_share": 1.0},
        {"kind": "warmup_cosine", "warmup_share": 0.1},
        {"kind": "warmup_cosine", "warmup_share": 0.0},
    ],
    ids=str,
)
def test_the_rates_told_are_those_taken(schedule: dict[str, Any], epochs: int) -> None:
    settings = config(schedule, epochs)
    stages = build_stages(settings, NUM_TRAIN)
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], [nn.Parameter(torch.zeros(1))], settings.optim)
    steps = stages[0].num_steps
    moving = make_schedule(optimizer, settings.schedule, num_epochs=epochs, total_steps=epochs * steps)
    for planned in planned_rates(stages):
        taken = []
        for _ in range(steps):
            taken.append(learning_rates(optimizer))
            moving.after_step()
        moving.after_epoch(planned.epoch / 100)
        head = [rates["head"] for rates in taken]
        assert (planned.first, planned.highest, planned.last) == pytest.approx(
            (head[0], max(head), head[-1]), abs=1e-12
        )
        assert planned.trunk == pytest.approx(max(rates["trunk"] for rates in taken), abs=1e-12)


def test_the_notebooks_triangle_wave_is_named() -> None:
    warned = warnings({"kind": "cosine", "t_max_epochs": 5}, 15, early_stop_epochs=2)
    assert len(warned) == 3
    assert "t_max_epochs=5 is below the 15 epochs: a triangle wave, not restarts" in warned[0]
    assert "0 at epoch 6" in warned[0]
    assert "early_stop_epochs=2 is shorter than the wave's half of 5" in warned[1]
    assert warned[2] == "the learning rate is 0 throughout epoch 6: nothing is learnt there"


@pytest.mark.parametrize(
    ("schedule", "epochs", "train", "phrase"),
    [
        ({"kind": "step", "step_epochs": 3}, 3, {}, "step_epochs=3 never fires in 3 epochs"),
        ({"kind": "cosine", "t_max_epochs": 10}, 5, {}, "t_max_epochs=10 is beyond the 5 epochs: the rate ends at 65%"),
        ({"kind": "plateau", "patience_epochs": 2}, 4, {}, "patience_epochs=2 cannot reduce the rate in 4 epochs"),
        ({"kind": "plateau"}, 20, {"early_stop_epochs": 3}, "early_stop_epochs=3 ends the run before"),
        ({"kind": "onecycle"}, 9, {"early_stop_epochs": 2}, "early_stop_epochs=2 can end the run while the rate is"),
        ({"kind": "warmup_cosine"}, 9, {"early_stop_epochs": 2}, "warmup_cosine is at its best at its end"),
    ],
)
def test_each_oddity_is_told_once(schedule: dict[str, Any], epochs: int, train: dict[str, Any], phrase: str) -> None:
    (warning,) = warnings(schedule, epochs, **train)
    assert phrase in warning


@pytest.mark.parametrize(
    ("schedule", "epochs", "train"),
    [
        ({"kind": "constant"}, 3, {"early_stop_epochs": 2}),
        ({"kind": "step", "step_epochs": 3}, 4, {}),
        ({"kind": "cosine"}, 15, {}),
        ({"kind": "plateau", "patience_epochs": 2}, 5, {}),
        ({"kind": "plateau"}, 20, {"early_stop_epochs": 4}),
        ({"kind": "onecycle"}, 4, {}),
    ],
)
def test_what_is_sound_passes(schedule: dict[str, Any], epochs: int, train: dict[str, Any]) -> None:
    assert warnings(schedule, epochs, **train) == ()


def test_a_stage_is_judged_by_its_own_length() -> None:
    tables = [
        {"epochs": 3, "model": {"trainable": "head"}, "schedule": {"kind": "step", "step_epochs": 3}},
        {"epochs": 5, "model": {"trainable": "layer4"}},
    ]
    settings = parse({"stages": tables})
    stages = build_stages(settings, NUM_TRAIN)
    (warning,) = lint(stages, settings.train)
    assert "never fires in 3 epochs" in warning
    rates = planned_rates(stages)
    assert [rate.trunk > 0 for rate in rates] == [False] * 3 + [True] * 5
    assert rates[3].highest == pytest.approx(1e-4)  # the cosine begins anew


def test_the_rate_follows_the_batch_by_adams_rule() -> None:
    settings = config({"kind": "constant"}, 1, data={"batch_size": 256}, optim={"lr_head": 1e-3, "lr_batch_size": 64})
    assert planned_rates(build_stages(settings, NUM_TRAIN))[0].highest == pytest.approx(2e-3)


@pytest.mark.parametrize("kind", ["constant", "step", "cosine", "onecycle", "warmup_cosine"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_a_few_steps_tell_the_highest_rate_of_an_epoch(kind: str, share: float, steps: int) -> None:
    settings = config({"kind": kind, "warmup_share": share}, 5)
    stages = build_stages(settings, 16 * steps)
    for planned in planned_rates(stages):
        every = range((planned.epoch - 1) * steps, planned.epoch * steps)
        rates = [1e-3 * rate_share(settings.schedule, planned.epoch - 1, 5, step, 5 * steps) for step in every]
        assert (planned.first, planned.highest, planned.last) == (rates[0], max(rates), rates[-1])


@pytest.mark.parametrize("kind", ["cosine", "onecycle", "warmup_cosine", "step"])
def test_the_longest_run_is_looked_at_in_time_that_goes_with_its_epochs(kind: str) -> None:
    settings = config({"kind": kind, "step_epochs": 1}, 10_000)
    stages = build_stages(settings, 2**31 - 1)
    assert len(planned_rates(stages)) == 10_000
    assert all(len(sentence) < 1000 for sentence in lint(stages, settings.train))
