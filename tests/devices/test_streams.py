"""What crosses between host and device, and in what order."""

from __future__ import annotations

import contextlib

import pytest
import torch

from fastpath import runtime
from fastpath.devices import streams


def test_on_the_cpu_a_copy_to_the_host_has_arrived_at_once() -> None:
    here = runtime.Runtime(torch.device("cpu"))
    source = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    room = here.host_like(source)
    assert (room.stride(), room.dtype, room.is_pinned()) == (source.stride(), source.dtype, False)
    arrival = here.to_host([source], [room])
    assert arrival.query()
    arrival.synchronize()
    kept = source.clone()
    source += 1
    assert torch.equal(room, kept)


class Stream:
    """Writes down what is asked of a CUDA stream."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events = name, events

    def wait_stream(self, other: Stream) -> None:
        self.events.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: Event) -> None:
        self.events.append(f"{self.name} waits for {event.what}")


class Event:
    """A CUDA event that stands for what a stream had been asked for when it was recorded."""

    events: list[str]

    def __init__(self, *, blocking: bool = False) -> None:
        self.what = "nothing"

    def record(self, stream: Stream) -> None:
        self.what = f"{self.events[-1]} on {stream.name}"


def test_a_copy_to_the_host_comes_after_the_step_before_and_before_the_step_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []
    copying, training = Stream("the copy", events), Stream("training", events)
    monkeypatch.setattr(Event, "events", events, raising=False)
    monkeypatch.setattr(streams, "_copy_stream", lambda _device: copying)
    monkeypatch.setattr(streams, "_copy", lambda *_: events.append("copying"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: training)
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", Event)
    runtime.Runtime(torch.device("cuda", 0)).to_host([torch.zeros(1)], [torch.zeros(1)])
    assert events == ["the copy waits for training", "copying", "training waits for copying on the copy"]
