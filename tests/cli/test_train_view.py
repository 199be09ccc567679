"""What a terminal shows of training."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from fastpath.cli import render
from fastpath.cli.train_view import TrainView
from fastpath.engine.loop import EpochEvent, StepEvent, Timing, ValidationEvent
from fastpath.engine.schedule_lint import EpochRates
from fastpath.runtime import Runtime
from fastpath.system import run_log
from fastpath.workflows.train.train_lines import StartEvent, told_in_lines

CPU = Runtime(torch.device("cpu"))

START = StartEvent(
    num_train=4000,
    num_val=1000,
    num_epochs=2,
    num_steps=2,
    epoch=0,
    step=0,
    num_parameters=30,
    num_trained=20,
    centre_lost_share=0.0,
)
EPOCH = EpochEvent(1, 0.51234, 0.4, 0.91, {"head": 1e-4}, True, Timing(4000, 10.0, 1.0, 2.0))


def shown(
    verbosity: int, monkeypatch: pytest.MonkeyPatch, num_steps: int = 2, start: StartEvent = START, width: int = 120
) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False, highlight=False)
    monkeypatch.setattr(render, "stderr", console)
    with run_log.of_command(render.Terminal(verbosity)), TrainView(verbosity, CPU) as view:
        take = told_in_lines(view.show, CPU)
        take(replace(start, num_steps=num_steps))
        for step in range(1, num_steps + 1):
            take(StepEvent(0, step, 2000, torch.zeros(()), 0.1, num_steps))
        take(ValidationEvent(0, 1000))
        take(EPOCH)
    return stream.getvalue()


def test_no_bar_is_drawn_where_colours_are_forced_on_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(render, "stderr", Console(file=stream, width=120, force_terminal=True, highlight=False))
    with TrainView(0, CPU) as view:
        view.show(START)
        view.show(StepEvent(0, 1, 2000, torch.zeros(()), 0.1, 2))
        view.show(EPOCH)
    assert stream.getvalue() == ""


def test_an_epoch_is_a_line_under_its_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(0, monkeypatch).splitlines()
    assert lines[0] == "4,000 training and 1,000 validation patches, 20 of 30 parameters trained"
    headings, epoch = (line for line in lines if "AUC" in line or ("1/2" in line and "0.9100" in line))
    assert epoch.split() == ["1/2", "0.5123", "0.4000", "0.9100", "best", "1.0e-04", "400", "10%", "12.0"]
    assert headings.index("val AUC") + len("val AUC") == epoch.index("0.9100") + len("0.9100")


def test_quiet_shows_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(-1, monkeypatch) == ""
    odd = replace(START, warnings=("a triangle wave",), memory="in the store")
    assert shown(-1, monkeypatch, start=odd) == "note: a triangle wave\n"


def test_the_bar_tells_the_loss_of_the_step() -> None:
    with TrainView(0, CPU) as view:
        view.show(START)
        view.show(StepEvent(0, 1, 2000, torch.tensor(0.25), 0.1, 2))
        assert view._bar.tasks[0].fields["state"].endswith("stall 10%  loss 0.2500")


def test_losses_are_sent_for_now_and_then_and_none_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    class Never:
        def query(self) -> bool:
            return False

        def synchronize(self) -> None:
            pytest.fail("waited")

    def send(_self: Runtime, sources: list[torch.Tensor], _targets: list[torch.Tensor]) -> Never:
        sent.append(len(sources))
        return Never()

    monkeypatch.setattr(Runtime, "to_host", send)
    monkeypatch.setattr("fastpath.cli.train_view.time.monotonic", lambda: 100.0)
    shown(0, monkeypatch, num_steps=500)
    assert sent == [1]  # the first is still on its way when the epoch ends


@pytest.mark.parametrize(("share", "warned"), [(0.0, False), (0.125, True)])
def test_a_crop_that_can_lose_the_centre_is_warned_of_with_its_share(
    monkeypatch: pytest.MonkeyPatch, share: float, warned: bool
) -> None:
    assert (
        "12.5% of training samples" in shown(0, monkeypatch, start=replace(START, centre_lost_share=share))
    ) == warned


def test_the_rates_and_what_is_odd_about_them_come_before_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    still = [EpochRates(epoch, 1e-3, 1e-3, 1e-3, 0.0) for epoch in (1, 2, 3)]
    moving = [EpochRates(4, 4e-5, 1e-3, 5e-4, 0.0), EpochRates(5, 5e-4, 5e-4, 0.0, 0.0)]
    start = replace(START, rates=(*still, *moving), warnings=("a triangle wave", "nothing is learnt"))
    _, rates, *notes = shown(0, monkeypatch, start=start, width=400).splitlines()
    assert rates.endswith("1-3: 1.0e-03, 4: 4.0e-05→1.0e-03→5.0e-04, 5: 5.0e-04→0.0e+00")
    assert notes[:2] == ["note: a triangle wave", "note: nothing is learnt"]
