"""Trackers hear what the journal tells, cost a run nothing where they stay away, and go on where a run is resumed."""

from __future__ import annotations

import math
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.config import Config
from fastpath.engine.loop import EpochEvent, StepEvent, Timing
from fastpath.errors import FastpathError, UsageError
from fastpath.workflows import pack
from fastpath.workflows.train import trackers
from fastpath.workflows.train.train import StartEvent


def start(done: int = 0) -> StartEvent:
    return StartEvent(96, 32, 3, 4, done, 0, 10, 10, 0.0)


def event(epoch: int, auc: float = 0.5) -> EpochEvent:
    return EpochEvent(epoch, 0.3, 0.7, auc, {"head": 1e-3}, True, Timing(100, 2.0, 0.5, 1.0))


def track(run_dir: Path, names: tuple[str, ...], epochs: list[EpochEvent]) -> None:
    trackers.require(names)
    with trackers.listening(names, run_dir, Config()) as listen:
        listen(start(epochs[0].epoch - 1))
        for each in epochs:
            listen(each)


def test_values_are_the_numbers_worth_a_curve() -> None:
    values = trackers.values_of(event(1, auc=math.nan))
    assert values == {
        **{"train_loss": 0.3, "val_loss": 0.7, "lr_head": 1e-3, "images_per_s": 50.0, "stall_share": 0.25},
        **{"train_s": 2.0, "wait_s": 0.5, "val_s": 1.0},
    }


def test_tensorboard_reads_back_what_it_was_told_and_a_resumed_run_supersedes(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    track(tmp_path, ("tensorboard",), [event(1, 0.6), event(2, 0.7), event(3, 0.1)])
    track(tmp_path, ("tensorboard",), [event(3, 0.8)])
    read = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    points = {point.step: point.value for point in read.Scalars("val/auc")}
    assert points == pytest.approx({1: 0.6, 2: 0.7, 3: 0.8})
    assert len(read.Scalars("val/auc")) == 3  # the superseded third is gone
    assert set(read.Tags()["scalars"]) == {
        *("train/loss", "val/loss", "val/auc", "lr/head"),
        *("speed/images_per_s", "speed/stall_share", "speed/train_s", "speed/wait_s", "speed/val_s"),
    }


@pytest.mark.parametrize("events", [[StepEvent.__new__(StepEvent)], [start(done=3)]], ids=["refused", "finished"])
def test_nothing_is_opened_for_a_run_that_does_not_train(tmp_path: Path, events: list[object]) -> None:
    received: list[object] = []
    with trackers.listening(("tensorboard", "mlflow", "wandb"), tmp_path, Config(), received.append) as listen:
        listen(events[0])
    assert received == events
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_not_there_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    told_of = rf"--{name}: the package '{name}' is not installed; install it with: pip install 'fastpath\[{name}\]'"
    with pytest.raises(UsageError, match=told_of):
        trackers.require((name,))


def test_what_mlflow_cannot_write_to_refuses_a_run_before_it_has_a_directory(
    kaggle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow keeps no more runs in plain files; found at the end of the first epoch, it would cost that epoch."""
    pytest.importorskip("mlflow")
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "a-file" / "runs").as_uri())
    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    for folds in ([], ["--folds", "3"]):
        words = ["train", str(tmp_path / "store"), "-o", str(tmp_path / "run"), "--mlflow", *folds]
        outcome = CliRunner().invoke(app, words)
        assert isinstance(outcome.exception, UsageError)
        assert str(outcome.exception).startswith("--mlflow: MLflow cannot write to file:")
        assert "; start one with 'mlflow server'" in str(outcome.exception)
        assert not (tmp_path / "run").exists()


@pytest.fixture
def hanging_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of a server that closes every connection, in MLFLOW_TRACKING_URI."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(1000).decode(errors="replace"))

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")  # no pause between them
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{server.getsockname()[1]}")
        yield asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_server_that_hangs_up_is_one_line_after_few_attempts(hanging_up: list[str]) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(FastpathError, match=r"--mlflow: MLflow cannot write to http://.*\(.*\); start one") as failed:
        trackers.require(("mlflow",))
    assert failed.value.exit_status == 1
    assert "secret" not in str(failed.value)
    assert len(hanging_up) == 3  # MLflow's own eight would take four minutes


class Flaky:
    """A tracker whose server is away while `away` says so, and the seconds that it takes to find out."""

    def __init__(self) -> None:
        self.epochs_logged: list[tuple[int, float]] = []
        self.asked = self.now = 0
        self.away = False
        self.closed: list[bool] = []

    def check(self) -> None:
        pass

    def open(self, _run_dir: Path, _config: Config, _first_epoch: int) -> Flaky:
        self._ask()
        return self

    def tell(self, epoch: int, values: Mapping[str, float]) -> None:
        self._ask()
        self.epochs_logged.append((epoch, values["val_auc"]))

    def close(self, *, failed: bool) -> None:
        self._ask()
        self.closed.append(failed)

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            self.now += 3
            raise ConnectionError("refused\nby http://me:secret@host")


def test_a_tracker_that_stays_away_for_a_while_is_told_all_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky, notices = Flaky(), []
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", flaky)
    with trackers.listening(
        ("mlflow",), tmp_path, Config(), notice=notices.append, clock=lambda: float(flaky.now)
    ) as listen:
        flaky.away = True
        listen(start())
        listen(event(1, 0.6))  # at once: not asked again yet
        assert (flaky.asked, flaky.epochs_logged) == (1, [])
        flaky.now += 30  # ten times as long as it kept us waiting
        listen(event(2, 0.7))
        assert (flaky.asked, flaky.epochs_logged) == (2, [])
        flaky.away, flaky.now = False, flaky.now + 30
        listen(event(3, 0.8))
    assert flaky.epochs_logged == [(1, 0.6), (2, 0.7), (3, 0.8)]
    assert flaky.closed == [False]
    assert len(notices) == 2  # once that it is away, once that it is back
    assert notices[0].startswith("--mlflow: refused by ")
    assert "secret" not in notices[0]


def test_a_tracker_that_never_comes_back_ends_no_training_and_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky, notices = Flaky(), []
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", flaky)

    def train() -> None:
        with trackers.listening(("mlflow",), tmp_path, Config(), notice=notices.append) as listen:
            listen(start())
            listen(event(1))
            flaky.away = True
            listen(event(2))
            raise ValueError("of training")

    with pytest.raises(ValueError, match="of training"):
        train()
    assert flaky.epochs_logged == [(1, 0.5)]
    assert "1 epoch could not be told; the run's journal holds them" in notices[1]
    assert "could not be told that the run has ended" in notices[2]
