"""Stages lie end to end, and an optimiser goes on over those that learn alike."""

from __future__ import annotations

from fastpath.config import Config, parse
from fastpath.engine.stages import begins_phase, build_stages, phase_of, stage_at

PROGRESSIVE = parse(
    {
        "data": {"batch_size": 32},
        "stages": [
            {"epochs": 1, "model": {"trainable": "head"}},
            {"epochs": 2, "data": {"image_size_px": 64}},
            {"epochs": 3, "data": {"image_size_px": 96, "batch_size": 16}},
        ],
    }
)


def test_a_run_without_stages_is_one() -> None:
    (stage,) = build_stages(Config(), 65)
    assert (stage.first_epoch, stage.end_epoch, stage.num_steps, stage.phase) == (0, 15, 2, 0)
    assert stage.config == Config()


def test_stages_follow_and_share_a_phase_where_only_size_and_batch_differ() -> None:
    stages = build_stages(PROGRESSIVE, 65)
    assert [(s.first_epoch, s.end_epoch, s.num_steps, s.phase) for s in stages] == [
        (0, 1, 3, 0),
        (1, 3, 3, 1),
        (3, 6, 5, 1),
    ]
    assert [stage_at(stages, epoch) for epoch in range(7)] == [stages[i] for i in (0, 1, 1, 2, 2, 2, 2)]
    assert phase_of(stages, 1) == stages[1:]


def test_an_optimiser_begins_with_its_phase_only() -> None:
    stages = build_stages(PROGRESSIVE, 65)
    begins = [(epoch, step) for epoch in range(6) for step in range(3) if begins_phase(stages, epoch, step)]
    assert begins == [(0, 0), (1, 0)]


def test_with_rates_by_batch_size_another_batch_is_another_phase() -> None:
    scaled = parse(
        PROGRESSIVE.to_dict()
        | {
            "optim": {"lr_batch_size": 64},
            "stages": [{"epochs": 1}, {"epochs": 1, "data": {"batch_size": 16}}],
            "train": {},
        }
    )
    assert [stage.phase for stage in build_stages(scaled, 65)] == [0, 1]
