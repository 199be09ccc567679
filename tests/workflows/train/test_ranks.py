"""Ranks stop together, and a lost one is told in one line."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from fastpath.engine.loop import EpochEvent, Event, StepEvent, Timing, ValidationEvent
from fastpath.runtime import Runtime
from fastpath.workflows.train.ranks import MEETING_STEPS, LostRankError, asked_to_stop, together

ALONE = Runtime(torch.device("cpu"))
RANKED = Runtime(torch.device("cpu"), rank=1, world_size=2)


def step(number: int) -> Event:
    return StepEvent(0, number, 1, torch.zeros(()), 0.0)


def test_alone_a_run_stops_at_once() -> None:
    assert asked_to_stop(True, step(1), ALONE)
    assert not asked_to_stop(False, step(1), ALONE)


def test_ranks_stop_where_they_meet_if_any_was_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    heard_elsewhere = torch.ones(())
    monkeypatch.setattr(Runtime, "all_reduce_sum", lambda _, values: values + heard_elsewhere)
    epoch = EpochEvent(1, 0.0, 0.0, 0.5, {}, True, Timing())
    assert asked_to_stop(False, step(MEETING_STEPS), RANKED)
    assert asked_to_stop(False, epoch, RANKED)
    for event in (step(1), step(MEETING_STEPS + 1), ValidationEvent(0, 5)):
        assert not asked_to_stop(True, event, RANKED)
    heard_elsewhere.zero_()
    assert not asked_to_stop(False, step(MEETING_STEPS), RANKED)
    assert asked_to_stop(True, step(MEETING_STEPS), RANKED)


def test_a_lost_rank_is_told_from_other_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "group", lambda _: nullcontext())
    lost = "[gloo/transport/tcp/pair.cc:545] Connection closed by peer [127.0.0.1]:27846"
    pattern = r"rank 1 of 2: lost contact .* goes on from its last checkpoint"
    with pytest.raises(LostRankError, match=pattern) as caught, together(RANKED, Path("run")):
        raise RuntimeError(lost)
    assert caught.value.exit_status == 1
    for runtime, message in ((ALONE, lost), (RANKED, "mat1 and mat2 shapes cannot be multiplied")):
        with pytest.raises(RuntimeError, match=r"Connection closed|mat1"), together(runtime, Path("run")):
            raise RuntimeError(message)
