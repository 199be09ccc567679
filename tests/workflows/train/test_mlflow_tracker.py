"""Runs in MLflow: on a real server with a database behind it, and in a database file."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.config import Config, parse
from fastpath.workflows import pack
from fastpath.workflows.train import mlflow_tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's database layer closes its connections when collected

FULL = all(importlib.util.find_spec(name) for name in ("mlflow", "sqlalchemy", "alembic", "flask"))
NOT_FULL = "mlflow with its server is not installed (the extra brings its client only): pip install mlflow"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real `mlflow server` on a database of its own."""
    if not FULL:
        pytest.skip(NOT_FULL)
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--port", str(port)]
    words += ["--host", "127.0.0.1", "--workers", "1", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    try:
        for _ in range(480):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.25)
        else:
            pytest.fail((folder / "log").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def runs(address: str, name: str) -> tuple[Any, list[Any]]:
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("fastpath")
    assert experiment is not None
    return client, [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == name]


@pytest.mark.slow
@pytest.mark.dali
def test_a_training_and_its_resumption_are_one_run_of_a_real_server(
    address: str, kaggle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    settings = tmp_path / "small.toml"
    settings.write_text(
        '[data]\nimage_size_px = 16\nbatch_size = 16\n[model]\nname = "baseline_cnn"\npretrained = false\n'
        'trainable = "all"\n[train]\nepochs = 2\n'
    )
    words = ["train", str(tmp_path / "store"), "-o", str(tmp_path / "real"), "--mlflow", "--device", "cpu"]
    outcome = CliRunner().invoke(app, [*words, "--config", str(settings)])
    assert outcome.exit_code == 0, outcome.output
    client, (run,) = runs(address, "real")
    assert (run.info.status, run.data.params["train.epochs"]) == ("FINISHED", "2")
    journal = [json.loads(line) for line in (tmp_path / "real" / "journal.jsonl").read_text().splitlines()]
    history = client.get_metric_history(run.info.run_id, "val_auc")
    assert [(point.step, point.value) for point in history] == [(e["epoch"], e["val_auc"]) for e in journal]
    assert CliRunner().invoke(app, [*words, "--resume"]).exit_code == 0  # finished: nothing to train, nothing to tell
    assert len(client.get_metric_history(run.info.run_id, "val_auc")) == 2


@pytest.mark.slow
def test_a_resumed_run_of_other_settings_goes_on_and_keeps_what_changed(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    _goes_on(address, tmp_path)


def test_a_database_file_holds_one_run_however_often_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not FULL:
        pytest.skip(NOT_FULL)
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    _goes_on(address, tmp_path)


def _goes_on(address: str, folder: Path) -> None:
    run_dir = folder / "extended"
    run_dir.mkdir()
    mlflow_tracker.Mlflow.check()
    for first, epochs, auc in ((1, 2, {1: 0.6, 2: 0.7}), (3, 3, {3: 0.8})):
        config: Config = parse({"train": {"epochs": epochs}}, "test")
        tracker = mlflow_tracker.Mlflow.open(run_dir, config, first)
        _, (run,) = runs(address, "extended")
        assert run.info.status == "RUNNING"
        for epoch, value in auc.items():
            tracker.tell(epoch, {"val_auc": value})
        tracker.close(failed=first == 1)
        client, (run,) = runs(address, "extended")
        assert run.info.status == ("FAILED" if first == 1 else "FINISHED")
    assert run.data.params["train.epochs"] == "2"  # MLflow lets no parameter change
    assert run.data.tags["from_epoch_3.train.epochs"] == "3"
    assert [name for name in run.data.tags if name.startswith("from_epoch_")] == ["from_epoch_3.train.epochs"]
    history = client.get_metric_history(run.info.run_id, "val_auc")
    assert [(point.step, point.value) for point in history] == [(1, 0.6), (2, 0.7), (3, 0.8)]
    client.delete_run(run.info.run_id)  # then a new one is made, and training goes on
    mlflow_tracker.Mlflow.open(run_dir, config, 4).close(failed=False)
    _, (again,) = runs(address, "extended")
    assert again.info.run_id != run.info.run_id
