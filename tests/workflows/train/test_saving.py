"""What a run keeps is written beside training: when, in what order, and whatever goes wrong."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fastpath.config import Config
from fastpath.engine.archive import share_file
from fastpath.engine.checkpoint import Checkpoint, load_checkpoint
from fastpath.engine.loop import EpochEvent, StepEvent, Timing, ValidationEvent
from fastpath.engine.stages import build_stages
from fastpath.errors import FastpathError
from fastpath.runs import run_directory
from fastpath.runtime import Runtime
from fastpath.workflows.train import saving
from fastpath.workflows.train.saving import CURVES_S, Saver

CPU = Runtime(torch.device("cpu"))


class Training:
    """A run of which nothing happens but what a test says: its state, its clock and its events."""

    def __init__(self) -> None:
        self.now_s, self.step, self.epoch = 1e6, 0, 0
        self.weight, self.loss_sum = torch.zeros(3), torch.zeros((), dtype=torch.float64)

    def capture(self) -> Checkpoint:
        return Checkpoint(
            config=Config().to_dict(),
            store_fingerprint="a",
            split_fingerprint="b",
            mean_3=(0.7, 0.5, 0.7),
            std_3=(0.2, 0.3, 0.2),
            patch_size_px=96,
            classes=("normal", "tumour"),
            software={},
            epoch=self.epoch,
            step=self.step,
            best_auc=0.5,
            best_epoch=self.epoch,
            epochs_since_best=0,
            loss_sum=self.loss_sum,
            num_seen=self.step,
            model={"weight": self.weight},
            optimizer={},
            schedule={},
            scaler={},
        )

    def steps(self, seconds: float) -> StepEvent:
        """Take a step, which changes the weights in place."""
        self.now_s += seconds
        self.step += 1
        self.weight += 1
        return StepEvent(self.epoch, self.step, 8, torch.zeros(()), 0.0)

    def ends(self, *, improved: bool) -> EpochEvent:
        self.epoch, self.step = self.epoch + 1, 0
        return EpochEvent(self.epoch, 0.5, 0.4, 0.9, {"head": 1e-4}, improved, Timing(8, 1.0))


@pytest.fixture
def training() -> Training:
    return Training()


@pytest.fixture
def saver(training: Training, tmp_path: Path) -> Callable[..., Saver]:
    def made(minutes: float = 0, runtime: Runtime = CPU) -> Saver:
        clock = lambda: training.now_s  # noqa: E731
        stages = build_stages(Config(), num_train=8)
        return Saver(tmp_path, training.capture, runtime, minutes=minutes, title="a run", stages=stages, clock=clock)

    return made


def kept(path: Path) -> tuple[int, int, float]:
    checkpoint = load_checkpoint(path / "last.pt")
    return checkpoint.epoch, checkpoint.step, float(checkpoint.model["weight"][0])


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let no checkpoint be written before the yielded event is set."""
    go, write = threading.Event(), saving.save_checkpoint

    def slow(checkpoint: Checkpoint, path: Path) -> None:
        assert go.wait(60)
        write(checkpoint, path)

    monkeypatch.setattr(saving, "save_checkpoint", slow)
    try:
        yield go
    finally:
        go.set()


def test_a_run_is_kept_when_the_time_has_come(saver: Callable[..., Saver], training: Training, tmp_path: Path) -> None:
    with saver(minutes=2) as ours:
        ours.after(training.steps(119))
        ours.wait()
        assert not (tmp_path / "last.pt").exists()
        ours.after(training.steps(1))
        ours.wait()
        assert kept(tmp_path) == (0, 2, 2.0)
        ours.after(training.steps(119))  # counted from the last save
        ours.wait()
        assert kept(tmp_path) == (0, 2, 2.0)
        training.now_s += 1
        ours.after(ValidationEvent(0, 8))  # a long validation costs no more than a long epoch
        ours.wait()
        assert kept(tmp_path) == (0, 3, 3.0)
        ours.after(training.ends(improved=False))
        training.now_s += 60
        ours.after(training.steps(59))  # the end of an epoch counts too
    assert kept(tmp_path) == (1, 0, 3.0)


def test_no_minutes_keep_the_ends_of_epochs_only(
    saver: Callable[..., Saver], training: Training, tmp_path: Path
) -> None:
    with saver(minutes=0) as ours:
        ours.after(training.steps(1e9))
        ours.wait()
        assert not (tmp_path / "last.pt").exists()
        ours.after(training.ends(improved=True))
    assert kept(tmp_path) == (1, 0, 1.0)


def test_training_goes_on_while_what_was_is_written(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(monkeypatch) as go, saver(minutes=1) as ours:
        ours.after(training.steps(60))
        for _ in range(5):
            ours.after(training.steps(1))
        assert not (tmp_path / "last.pt").exists()
        go.set()
    assert kept(tmp_path) == (0, 1, 1.0)


def test_stopping_while_a_save_is_under_way_keeps_where_it_stopped(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(monkeypatch) as go, saver(minutes=1) as ours:
        ours.after(training.steps(60))
        ours.after(training.steps(1))
        threading.Timer(0.05, go.set).start()
        ours.save()
    assert kept(tmp_path) == (0, 2, 2.0)


def test_a_place_is_written_once(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    for module in (saving, run_directory):
        write = module.save_checkpoint
        monkeypatch.setattr(
            module, "save_checkpoint", lambda what, path, write=write: (written.append(path.name), write(what, path))
        )
    with saver(minutes=1) as ours:
        ours.after(training.steps(1))
        ours.after(training.ends(improved=True))
        ours.save()  # Ctrl-C right after the epoch
    assert written == ["best.pt"]
    assert kept(tmp_path) == (1, 0, 1.0)
    assert not list(tmp_path.glob("*.tmp"))


def test_best_and_last_are_one_file_until_they_differ(
    saver: Callable[..., Saver], training: Training, tmp_path: Path
) -> None:
    best, last = tmp_path / "best.pt", tmp_path / "last.pt"
    with saver(minutes=1) as ours:
        ours.after(training.steps(1))
        ours.after(training.ends(improved=True))
        ours.wait()
        assert best.samefile(last)
        before = best.read_bytes()
        ours.after(training.steps(60))
        ours.wait()
        assert not best.samefile(last)
        ours.after(training.ends(improved=False))
        ours.wait()
        assert best.read_bytes() == before
        ours.after(training.steps(1))
        ours.after(training.ends(improved=True))
        ours.after(training.ends(improved=True))
    assert best.samefile(last)
    assert kept(tmp_path) == (4, 0, 3.0)


def test_where_a_file_has_one_name_only_it_is_written_twice(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_self: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    with saver() as ours:
        ours.after(training.steps(1))
        ours.after(training.ends(improved=True))
    assert not (tmp_path / "best.pt").samefile(tmp_path / "last.pt")
    assert (tmp_path / "best.pt").read_bytes() == (tmp_path / "last.pt").read_bytes()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_second_name_that_a_kill_left_behind_is_not_written_through(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with saver(minutes=1) as ours:
        ours.after(training.steps(1))
        ours.after(training.ends(improved=True))
        ours.wait()
        best = tmp_path / "best.pt"
        before = best.read_bytes()
        with monkeypatch.context() as patch:  # dies between the two names, with no time to tidy up
            patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            with pytest.raises(KeyboardInterrupt):
                share_file(best, tmp_path / "last.pt")
        assert len(list(tmp_path.glob("*.tmp"))) == 1
        ours.after(training.steps(60))
        ours.wait()
        assert best.read_bytes() == before
        ours.after(training.ends(improved=True))
    assert not list(tmp_path.glob("*.tmp"))
    assert kept(tmp_path) == (2, 0, 2.0)


def full(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_of_at_the_next_step(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_late() -> None:
        with saver(minutes=1) as ours:
            ours.after(training.steps(60))
            ours.wait()
            monkeypatch.setattr("os.fsync", full)
            ours.after(training.steps(60))
            ours._thread.submit(int).result()  # the write has come to its end
            ours.after(training.steps(1))
            pytest.fail("went on")

    with pytest.raises(FastpathError, match=r"last\.pt: cannot be written: no space is left on the disk, and what"):
        told_late()
    assert kept(tmp_path) == (0, 1, 1.0)


def test_a_full_disk_is_told_of_at_the_end(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FastpathError, match="make room on the disk, then go on with --resume"), saver() as ours:
        ours.save()
    assert not list(tmp_path.glob("*.pt*"))


def test_the_error_of_training_is_the_one_that_is_told(
    saver: Callable[..., Saver], training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        with saver() as ours:
            ours.save()
            raise ZeroDivisionError

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ZeroDivisionError):
        fails()


def test_a_spoilt_state_replaces_no_good_one(saver: Callable[..., Saver], training: Training, tmp_path: Path) -> None:
    with saver(minutes=1) as ours:
        ours.after(training.steps(60))
        training.loss_sum += float("nan")
        ours.after(training.steps(60))
        ours.save()
    assert kept(tmp_path) == (0, 1, 1.0)


def test_the_thread_ends_with_the_block(saver: Callable[..., Saver], training: Training) -> None:
    before = set(threading.enumerate())
    with saver() as ours:
        ours.after(training.ends(improved=True))
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before


def test_another_rank_writes_nothing_and_copies_nothing(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "capture", lambda: pytest.fail("captured"))
    with saver(minutes=1, runtime=replace(CPU, rank=1, world_size=2)) as ours:
        ours.after(training.steps(60))
        ours.after(training.ends(improved=True))
        ours.save()
    assert not list(tmp_path.iterdir())


def test_curves_are_drawn_now_and_then_and_at_the_end(
    saver: Callable[..., Saver], training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, int, bool]] = []

    def draw(path: Path, records: list[dict[str, Any]], title: str, *_more: object) -> None:
        drawn.append((title, len(records), threading.current_thread() is threading.main_thread()))

    monkeypatch.setattr(run_directory, "draw_curves", draw)
    with saver() as ours:
        for seconds in (1, CURVES_S, 1, 1):
            training.now_s += seconds
            ours.after(training.ends(improved=False))
            ours.wait()
    assert drawn == [("a run", 2, False), ("a run", 4, False)]
    with saver():  # goes on where nothing is left to do: whoever kept the last epoch may have died before it drew
        pass
    assert drawn[2:] == [("a run", 4, False)]
