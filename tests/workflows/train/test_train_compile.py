"""A compiled network trains as the plain one does, and a machine that cannot compile says so before the first step."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from fastpath.config import Config, parse
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.loop import StepEvent
from fastpath.errors import ConfigError
from fastpath.runtime import Runtime
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.dali, pytest.mark.usefixtures("one_thread")]

ONE_THREAD = Runtime(torch.device("cpu"), num_threads=1)


def config(**train_settings: Any) -> Config:
    return parse(
        {
            "data": {"image_size_px": 32, "batch_size": 24},  # of 64 patches: the last step is smaller
            "model": {"name": "test_resnet", "pretrained": False, "trainable": "all"},  # no dropout
            "schedule": {"kind": "constant"},
            "train": {"epochs": 2, **train_settings},
        }
    )


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compile") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def journal(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "journal.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, at its own code
def test_a_compiled_run_is_the_plain_one_and_resumes(store: Path, tmp_path: Path) -> None:
    plain, compiled, stopped = (tmp_path / name for name in ("plain", "compiled", "stopped"))
    train.train_run(store, plain, config(), ONE_THREAD)
    train.train_run(store, compiled, config(compile=True), ONE_THREAD)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # it was compiled indeed

    def stop(event: object) -> None:
        if isinstance(event, StepEvent) and (event.epoch, event.step) == (1, 2):
            signal.raise_signal(signal.SIGINT)

    assert train.train_run(store, stopped, config(compile=True), ONE_THREAD, on_event=stop).status == "interrupted"
    torch.compiler.reset()  # as another process, which compiles anew
    assert train.train_run(store, stopped, config(compile=True), ONE_THREAD, resume=True).status == "finished"
    for run_dir, like, tolerance in ((compiled, plain, 1e-3), (stopped, compiled, 1e-3)):
        for ours, theirs in zip(journal(run_dir), journal(like), strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=tolerance)
            assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=tolerance)
    # What is saved is the plain network, whatever trained it.
    kept = [load_checkpoint(run_dir / "last.pt").model for run_dir in (plain, compiled)]
    assert kept[0].keys() == kept[1].keys()


@pytest.mark.parametrize("named", ["", "no-such-compiler -m64"])
def test_no_compiler_is_one_line_and_leaves_nothing(
    named: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", named)
    if not named:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"train\.compile: found no C\+\+ compiler '.+'.*use train\.compile=false"):
        train.train_run(store, tmp_path / "run", config(compile=True), ONE_THREAD)
    assert not (tmp_path / "run").exists()
