"""`--amp` on a CPU: measured once, remembered, and never by a coin's flip."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastpath.config import Config, parse
from fastpath.runs import precision
from fastpath.runs.precision import Step, settle
from fastpath.runtime import Runtime

OPEN = Runtime(torch.device("cpu"), "bfloat16", num_threads=2, tentative=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTPATH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision"


def tiny(**model: object) -> Config:
    settings = {"name": "baseline_cnn", "pretrained": False, "trainable": "all", **model}
    return parse({"data": {"image_size_px": 16, "batch_size": 4}, "model": settings})


def measuring(gain: float, asked: list[float] | None = None) -> Callable[[Step, Step], float]:
    """A measurement with a known answer, which lists that it was asked."""

    def measure(_plain: Step, _mixed: Step) -> float:
        if asked is not None:
            asked.append(gain)
        return gain

    return measure


@pytest.mark.parametrize(
    ("gain", "chosen"), [(0.58, "float32"), (1.0, "float32"), (1.02, "float32"), (1.04, "bfloat16"), (2.0, "bfloat16")]
)
def test_bfloat16_is_taken_only_where_it_is_clearly_faster(gain: float, chosen: str) -> None:
    settled = settle(OPEN, tiny(), measure=measuring(gain))
    assert (settled.precision, settled.tentative) == (chosen, False)
    assert f"{gain:.2f}" in settled.notice
    assert chosen in settled.notice
    assert "\n" not in settled.notice


def test_what_is_decided_is_left_alone() -> None:
    here = Runtime(torch.device("cpu"), "bfloat16")
    assert settle(here, tiny(), measure=lambda *_: pytest.fail("was measured")) is here


def test_a_decision_is_remembered_for_the_same_network_on_the_same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    assert settle(OPEN, tiny(), measure=measuring(2.0, asked)).precision == "bfloat16"
    assert settle(OPEN, tiny(), measure=measuring(0.5, asked)).precision == "bfloat16"
    assert asked == [2.0]
    others = [tiny(trainable="head"), tiny(batchnorm="frozen"), tiny(name="resnet18")]
    for other in others:
        settle(OPEN, other, measure=measuring(0.5, asked))
    settle(OPEN, tiny(), training=False, measure=measuring(0.5, asked))
    settle(
        Runtime(torch.device("cpu"), "bfloat16", num_threads=3, tentative=True), tiny(), measure=measuring(0.5, asked)
    )
    monkeypatch.setattr(precision, "cpu_name", lambda: "another")
    settle(OPEN, tiny(), measure=measuring(0.5, asked))
    assert asked == [2.0] + [0.5] * (len(others) + 3)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"decision": {"precision": "int8", "gain": 2}}', "\xff"])
def test_a_record_that_cannot_be_read_is_measured_again(cache: Path, content: str) -> None:
    settle(OPEN, tiny(), measure=measuring(2.0))
    (record,) = cache.iterdir()
    record.write_bytes(content.encode("latin-1"))
    assert settle(OPEN, tiny(), measure=measuring(0.5)).precision == "float32"
    assert settle(OPEN, tiny(), measure=measuring(2.0)).precision == "float32"  # and was written anew


def test_where_nothing_can_be_written_the_decision_holds_for_this_process(cache: Path) -> None:
    cache.parent.write_text("a file in the way", encoding="utf-8")
    assert settle(OPEN, tiny(), measure=measuring(2.0)).precision == "bfloat16"


def test_of_two_processes_that_measure_the_first_one_decides(cache: Path) -> None:
    def overtaken(_plain: Step, _mixed: Step) -> float:
        settle(OPEN, tiny(), measure=measuring(2.0))
        return 0.5

    assert settle(OPEN, tiny(), measure=overtaken).precision == "bfloat16"
    assert [path.suffix for path in cache.iterdir()] == [".json"]


@pytest.mark.parametrize("began", ["float32", "bfloat16"])
def test_a_run_keeps_what_it_began_in(cache: Path, began: str) -> None:
    settled = settle(OPEN, tiny(), began=began, measure=lambda *_: pytest.fail("was measured"))
    assert (settled.precision, settled.tentative) == (began, False)
    assert not cache.exists()


@pytest.mark.parametrize("training", [True, False])
def test_the_networks_own_step_is_what_is_measured(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes: list[torch.dtype] = []
    real = torch.nn.functional.linear

    def spied(*arguments: torch.Tensor) -> torch.Tensor:
        dtypes.append(real(*arguments).dtype)
        return real(*arguments)

    def measure(plain: Step, mixed: Step) -> float:
        plain()
        mixed()
        return 2.0

    monkeypatch.setattr(torch.nn.functional, "linear", spied)
    before = torch.random.get_rng_state()
    assert settle(OPEN, tiny(), training=training, measure=measure).precision == "bfloat16"
    assert set(dtypes) == {torch.float32, torch.bfloat16}
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_stage_that_trains_on_most_pixels_is_measured(cache: Path) -> None:
    data = [{"image_size_px": size} for size in (16, 48, 16)]
    stages = [{"epochs": count, "data": each} for count, each in zip((3, 2, 9), data, strict=True)]
    settings = {
        "data": {"image_size_px": 16},
        "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    }
    settle(OPEN, parse({**settings, "stages": stages}), measure=measuring(2.0))
    (record,) = cache.iterdir()
    assert json.loads(record.read_text())["of"]["image_size_px"] == 48


class Clock:
    """Time that passes only while steps are taken."""

    def __init__(self) -> None:
        self.now = 0.0
        self.taken = 0

    def __call__(self) -> float:
        return self.now

    def step(self, *seconds: float) -> Step:
        """A step that takes these times in turn."""
        endless = itertools.cycle(seconds)

        def take() -> None:
            self.taken += 1
            self.now += next(endless)

        return take


def test_a_gain_is_the_ratio_of_times() -> None:
    clock = Clock()
    assert precision.gain(clock.step(2.0), clock.step(1.0), clock) == pytest.approx(2.0)
    assert clock.taken == 2 * (2 + precision.ROUNDS)
    assert precision.gain(clock.step(1.0), clock.step(2.0), clock) == pytest.approx(0.5)


def test_near_parity_more_steps_are_taken_and_one_lucky_step_does_not_decide() -> None:
    clock = Clock()
    mixed = clock.step(*[1.0] * 6, 0.8, *[1.0] * 30)
    assert precision.gain(clock.step(1.0), mixed, clock) == pytest.approx(1.0)
    assert clock.taken == 2 * (2 + precision.ROUNDS + precision.CLOSE_ROUNDS)
