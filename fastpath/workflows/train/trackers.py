"""Views of a run elsewhere: TensorBoard, MLflow, W&B. Each hears the events that the journal is written from.

A tracker is asked to prove itself before a run's directory is made, is opened as training begins, and is told of each
epoch. It changes nothing of the run: what it cannot be told is kept and told with the next epoch, and a tracker that
stays away costs its own curves and no training. A run that was resumed goes on in the same run of the tracker; the
epochs that are trained again replace what was told of them, or repeat it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastpath.engine.journal import epoch_record, timing_record
from fastpath.engine.loop import EpochEvent
from fastpath.errors import UsageError
from fastpath.text import brief
from fastpath.urls import redacted
from fastpath.workflows.train.mlflow_tracker import Mlflow
from fastpath.workflows.train.tensorboard_tracker import TensorBoard
from fastpath.workflows.train.train_lines import StartEvent
from fastpath.workflows.train.wandb_tracker import Wandb

if TYPE_CHECKING:
    from fastpath.config import Config

_PAUSE = 10  # a server that is away is asked again after ten times as long as it kept us: a tenth of the time at most
_LEFT_OUT = ("epoch", "improved", "num_images")


class TrackerKind(Protocol):
    """What makes trackers of a kind."""

    def check(self) -> None:
        """See that a run would be taken; raises ImportError without the package, and as `require`."""

    def open(self, run_dir: Path, config: Config, first_epoch: int) -> Tracker:
        """Begin with a run, or go on with it where it was resumed."""


class Tracker(Protocol):
    """Told of a run, epoch by epoch. Its methods raise whatever its package does."""

    def tell(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take an epoch's 1-based number and its values by name, all finite."""

    def close(self, *, failed: bool) -> None:
        """Take that nothing more comes, and whether the training raised."""


def require(names: tuple[str, ...]) -> None:
    """See that the packages of some trackers are there and that their servers take a run, before one begins.

    Raises:
        UsageError: One is not installed, or cannot write to what it is pointed at.
        FastpathError: A server does not answer.
    """
    for name in names:
        try:
            TRACKERS[name].check()
        except ImportError:
            remedy = f"install it with: pip install 'fastpath[{name}]'"
            raise UsageError(f"--{name}", f"the package '{name}' is not installed", remedy) from None


@contextmanager
def listening(
    names: tuple[str, ...],
    run_dir: Path,
    config: Config,
    also: Callable[[Any], None] | None = None,
    notice: Callable[[str], None] = lambda _text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[Any], None]]:
    """Open trackers by name; yields what is told of every event, and closes them however the block ends.

    Nothing is opened before the run has begun, so that a refused one leaves nothing.

    Args:
        names: Of `TRACKERS`, once `require` has seen them.
        run_dir: The run's directory; its name is the run's.
        config: Shown beside the curves.
        also: Told of every event first.
        notice: Told in a sentence when a tracker stays away, and when it is back.
        clock: Seconds since any moment, to pause by between attempts.
    """
    opened: list[_Patient] = []

    def tell(event: Any) -> None:  # noqa: ANN401 (a start or any event of training)
        if also is not None:
            also(event)
        if isinstance(event, StartEvent) and event.epoch < event.num_epochs:
            for name in names:
                opened.append(_Patient(name, _opener(name, run_dir, config, event.epoch + 1), notice, clock))
        elif isinstance(event, EpochEvent):
            for tracker in opened:
                tracker.tell(event.epoch, values_of(event))

    failed = True
    try:
        yield tell
        failed = False
    finally:
        for tracker in opened:
            tracker.close(failed=failed)


class _Patient:
    """A tracker whose failures are told and end nothing.

    Args:
        name: Of `TRACKERS`.
        opener: Opens it.
        notice: Told when it stays away, and when it is back.
        clock: Seconds since any moment.
    """

    def __init__(
        self, name: str, opener: Callable[[], Tracker], notice: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._name, self._open, self._notice, self._clock = name, opener, notice, clock
        self._tracker: Tracker | None = None
        self._waiting: deque[tuple[int, Mapping[str, float]]] = deque()
        self._away, self._next_s = False, -math.inf
        self._deliver()

    def tell(self, epoch: int, values: Mapping[str, float]) -> None:
        """Tell of an epoch, after all that could not be told before."""
        self._waiting.append((epoch, values))
        if self._clock() >= self._next_s:
            self._deliver()

    def close(self, *, failed: bool) -> None:
        """Tell what is left and that nothing more comes; what cannot be told is lost to the tracker alone."""
        if self._waiting:
            self._deliver()
        if self._waiting:
            epochs = f"{len(self._waiting)} epoch{'s' if len(self._waiting) != 1 else ''}"
            self._notice(f"--{self._name}: {epochs} could not be told; the run's journal holds them")
        if self._tracker is not None:
            try:
                self._tracker.close(failed=failed)
            except Exception as error:
                self._notice(f"--{self._name}: could not be told that the run has ended ({_error_line(error)})")

    def _deliver(self) -> None:
        """Open the tracker where it is not yet, and tell it what waits."""
        began_s = self._clock()
        try:
            if self._tracker is None:
                self._tracker = self._open()
            while self._waiting:
                self._tracker.tell(*self._waiting[0])
                self._waiting.popleft()
        except Exception as error:  # whatever a package raises over its server, its disk or its own limits
            if not self._away:
                self._notice(f"--{self._name}: {_error_line(error)}; training goes on, and tells it later")
            self._away, self._next_s = True, self._clock() + _PAUSE * (self._clock() - began_s)
            return
        if self._away:
            self._notice(f"--{self._name}: answers again, and has been told of all epochs")
        self._away = False


def _opener(name: str, run_dir: Path, config: Config, first_epoch: int) -> Callable[[], Tracker]:
    return lambda: TRACKERS[name].open(run_dir, config, first_epoch)


def _error_line(error: Exception) -> str:
    return redacted(brief(error, 160), foreign=True)


def values_of(event: EpochEvent) -> dict[str, float]:
    """Return what there is to plot of an epoch: the journal's and the timing's numbers, less those that are NaN."""
    record = epoch_record(event) | timing_record(event)
    numbers = {name: value for name, value in record.items() if name not in _LEFT_OUT}
    return {
        name: float(value) for name, value in numbers.items() if isinstance(value, int | float) and math.isfinite(value)
    }


TRACKERS: dict[str, TrackerKind] = {"tensorboard": TensorBoard, "mlflow": Mlflow, "wandb": Wandb}
