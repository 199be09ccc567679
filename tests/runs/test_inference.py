"""Logits come to the host a portion at a time, the same ones however large the portions are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastpath.errors import DataError
from fastpath.runs import inference
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.types import Batch, Patches

CPU = Runtime(torch.device("cpu"))
NUM, SIZE = 22, 4
ROWS = np.arange(NUM)
RUN = cast(
    "TrainedRun",
    SimpleNamespace(
        path=Path("best.pt"), config=SimpleNamespace(data=SimpleNamespace(batch_size=4, eval_batch_size=0))
    ),
)
PATCHES = cast("Patches", None)


class Mean(nn.Module):
    """Tells patches apart by their mean."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW.mean((1, 2, 3))


@pytest.fixture(autouse=True)
def _batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches whose every pixel is their row's number, in memory that each batch overwrites."""

    def batches(*_: Any) -> Iterator[Batch]:
        images_NCHW = torch.empty(SIZE, 3, 2, 2)
        for start in range(0, NUM, SIZE):
            rows_N = torch.arange(start, min(start + SIZE, NUM))
            images_NCHW[: len(rows_N)] = rows_N.reshape(-1, 1, 1, 1)
            yield Batch(images_NCHW[: len(rows_N)], torch.zeros(len(rows_N)), rows_N)

    monkeypatch.setattr(inference, "batches", batches)


@pytest.fixture
def passed() -> Callable[..., list[np.ndarray]]:
    def passed(**named: Any) -> list[np.ndarray]:
        return list(inference.portions(RUN, Mean(), PATCHES, ROWS, CPU, **named))

    return passed


@pytest.mark.parametrize(("room", "sizes"), [(8, [8, 8, 6]), (4, [4] * 5 + [2]), (1, [4] * 5 + [2]), (99, [22])])
def test_room_is_bounded_and_emptied_when_full(
    passed: Callable[..., list[np.ndarray]], monkeypatch: pytest.MonkeyPatch, room: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(inference, "PORTION", room)
    portions = passed(clock=lambda: 0.0)
    assert [len(part) for part in portions] == sizes
    assert np.array_equal(np.concatenate(portions), ROWS)  # those of before stay as they are


def test_a_portion_comes_when_its_time_has_passed(passed: Callable[..., list[np.ndarray]]) -> None:
    portions = passed(clock=count(step=inference.PORTION_S / 2).__next__)
    assert [len(part) for part in portions] == [8, 8, 6]
    assert np.array_equal(np.concatenate(portions), ROWS)


def test_progress_is_told_of_after_every_batch_and_each_batch_is_shown_once() -> None:
    done: list[int] = []
    seen: list[int] = []
    logits = inference.all_logits(
        RUN,
        Mean(),
        PATCHES,
        ROWS,
        CPU,
        done.append,
        lambda batch: seen.extend(batch.images_NCHW[:, 0, 0, 0].int().tolist()),
    )
    assert done == [4, 8, 12, 16, 20, 22]
    assert seen == ROWS.tolist()
    assert np.array_equal(logits, ROWS)
    assert logits.dtype == np.float32


def test_a_logit_that_is_not_finite_ends_the_pass_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "PORTION", 8)
    model = Mean()
    model.register_forward_hook(lambda _module, _given, logits_N: torch.where(logits_N == 9, torch.nan, logits_N))
    portions = inference.portions(RUN, model, PATCHES, ROWS, CPU, clock=lambda: 0.0)
    assert len(next(portions)) == 8
    with pytest.raises(DataError, match=r"best\.pt: gives logits that are not finite"):
        next(portions)
