"""The idle time between steps: of a CPU by the host's clock, of a card by events read when they have passed."""

from __future__ import annotations

import pytest
import torch

from fastpath.devices.device_clock import CudaClock, HostClock
from fastpath.runtime import Runtime


class Card:
    """A card and its host: the card takes its time for what it was asked, the host goes on at once."""

    def __init__(self) -> None:
        self.host_s = self.free_s = 0.0
        self.made = 0

    def work(self, seconds: float) -> None:
        """Ask for a step."""
        self.free_s = max(self.host_s, self.free_s) + seconds

    def event(self) -> Event:
        self.made += 1
        return Event(self)


class Event:
    """A CUDA event, in seconds of a made-up card."""

    def __init__(self, card: Card) -> None:
        self.card, self.at_s = card, 0.0

    def record(self) -> None:
        self.at_s = max(self.card.host_s, self.card.free_s)

    def query(self) -> bool:
        return self.at_s <= self.card.host_s

    def elapsed_time(self, end: Event) -> float:
        assert self.query()
        assert end.query(), "an event that has not passed was read"
        return 1000 * (end.at_s - self.at_s)


def steps(card: Card, num_steps: int, *, feed_s: float, launch_s: float, step_s: float) -> CudaClock:
    """Take steps; the loader and the launching of kernels take the host's time, the step the card's."""
    clock = CudaClock(card.event)

    def batches():  # type: ignore[no-untyped-def] # noqa: ANN202
        while True:
            card.host_s += feed_s
            yield None

    feed = batches()
    for _ in range(num_steps):
        clock.next(feed)
        card.work(step_s)
        card.host_s += launch_s
        clock.step_done()
        clock.idle_s()
    return clock


def test_a_busy_card_is_not_idle_however_long_the_feed_takes_the_host() -> None:
    card = Card()
    clock = steps(card, 50, feed_s=0.3, launch_s=0.1, step_s=1.0)
    card.host_s = card.free_s  # the host waits for the card, as at an epoch's end
    assert clock.idle_s() == pytest.approx(0.3)  # before the first step


def test_a_card_that_waits_for_the_feed_is_idle_for_the_rest_of_the_step() -> None:
    card = Card()
    clock = steps(card, 50, feed_s=2.0, launch_s=0.1, step_s=0.5)
    assert clock.idle_s() == pytest.approx(2.0 + 49 * (2.1 - 0.5))


def test_what_the_card_has_not_passed_is_not_read_and_events_are_used_again() -> None:
    card = Card()
    clock = steps(card, 500, feed_s=0.5, launch_s=0.5, step_s=1.0)
    assert clock.idle_s() <= 0.5 + 1e-9
    assert card.made < 10


def test_on_the_cpu_the_wait_for_the_loader_is_the_idle_time() -> None:
    times = iter([1.0, 1.5, 4.0, 4.25])
    clock = HostClock(lambda: next(times))
    batches = iter("ab")
    assert clock.next(batches) == "a"
    clock.step_done()
    assert clock.next(batches) == "b"
    assert clock.idle_s() == 0.75
    assert isinstance(Runtime(torch.device("cpu")).idle_clock(), HostClock)
