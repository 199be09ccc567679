"""Trackers hear what the journal tells; a resumed run goes on where it stood."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from fastpath.config import Config
from fastpath.engine.loop import EpochEvent, StepEvent, Timing
from fastpath.errors import FastpathError, UsageError
from fastpath.workflows.train import trackers


def event(epoch: int, auc: float = 0.5) -> EpochEvent:
    return EpochEvent(epoch, 0.3, 0.7, auc, {"head": 1e-3}, True, Timing(100, 2.0, 0.5, 1.0))


def told(run_dir: Path, names: tuple[str, ...], epochs: list[EpochEvent]) -> None:
    with trackers.listening(names, run_dir, Config()) as listen:
        for one in epochs:
            listen(one)


def test_values_are_the_numbers_worth_a_curve() -> None:
    values = trackers.values_of(event(1, auc=math.nan))
    assert values == {
        **{"train_loss": 0.3, "val_loss": 0.7, "lr_head": 1e-3, "images_per_s": 50.0, "stall_share": 0.25},
        **{"train_s": 2.0, "wait_s": 0.5, "val_s": 1.0},
    }


def test_tensorboard_reads_back_what_it_was_told_and_a_resumed_run_supersedes(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told(tmp_path, ("tensorboard",), [event(1, 0.6), event(2, 0.7), event(3, 0.1)])
    told(tmp_path, ("tensorboard",), [event(3, 0.8)])
    read = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    points = {point.step: point.value for point in read.Scalars("val/auc")}
    assert points == pytest.approx({1: 0.6, 2: 0.7, 3: 0.8})
    assert len(read.Scalars("val/auc")) == 3  # the superseded third is gone
    assert set(read.Tags()["scalars"]) == {
        *("train/loss", "val/loss", "val/auc", "lr/head"),
        *("speed/images_per_s", "speed/stall_share", "speed/train_s", "speed/wait_s", "speed/val_s"),
    }


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return uri


@pytest.mark.filterwarnings("ignore")  # MLflow's database layer closes its connections when it is collected
def test_mlflow_holds_one_run_however_often_it_is_resumed(server: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    run_dir = tmp_path / "first"
    run_dir.mkdir()
    told(run_dir, ("mlflow",), [event(1, 0.6), event(2, math.nan)])
    told(run_dir, ("mlflow",), [event(3, 0.8)])
    client = MlflowClient(server)
    (run,) = client.search_runs([client.get_experiment_by_name("fastpath").experiment_id])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params["optim.lr_head"] == "0.0001"
    history = client.get_metric_history(run.info.run_id, "val_auc")
    assert [(point.step, point.value) for point in history] == [(1, 0.6), (3, 0.8)]


def test_nothing_is_opened_before_an_epoch_ended(tmp_path: Path) -> None:
    heard: list[object] = []
    with trackers.listening(("tensorboard", "mlflow"), tmp_path, Config(), heard.append) as listen:
        listen(StepEvent.__new__(StepEvent))
    assert len(heard) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r"--mlflow: the package 'mlflow' is not installed; install it with: pip"):
        told(tmp_path, ("mlflow",), [])


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    class Silent:
        def get_experiment_by_name(self, _name: str) -> None:
            raise ConnectionError("refused\nmore")

    with pytest.raises(FastpathError, match=r"--mlflow: cannot make a run \(refused more\)"):
        trackers._new_mlflow_run(Silent(), "name")
