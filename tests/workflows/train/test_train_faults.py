"""A disk that fills up while training: the checkpoint before is kept, the run says that it failed, and can go on."""

from __future__ import annotations

import errno
import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastpath.config import Config, parse
from fastpath.engine import journal
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.loop import EpochEvent
from fastpath.errors import FastpathError
from fastpath.runs import run_directory as directory
from fastpath.runtime import resolve
from fastpath.workflows import pack
from fastpath.workflows.train import failure, train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]
faults = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "faults.py")))

CASES: dict[str, tuple[Any, str]] = {
    "no room for a checkpoint": (faults.full(errno.ENOSPC, 20_000), "no space is left"),
    "the quota is used up": (faults.full(errno.EDQUOT, 20_000), "quota"),
    "nothing can be written": (faults.full(errno.ENOSPC), "no space is left"),
    "nothing is seen onto the disk": (faults.unsynced(errno.ENOSPC), "no space is left"),
    "the file system has become read-only": (faults.refused(errno.EROFS), "read-only"),
}

FAST = ("no room for a checkpoint", "the file system has become read-only")


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("faults") / "store"
    pack.pack_source(kaggle_folder, place, workers=1)
    return place


def _config(**more: Any) -> Config:
    return parse(
        {
            "data": {"image_size_px": 32, "batch_size": 32},
            "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
            "train": {"epochs": 3},
        }
        | more
    )


@pytest.mark.parametrize(
    "fault", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_run_on_a_disk_that_fills_up_keeps_its_word(
    fault: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, (happens, cause) = tmp_path / "run", CASES[fault]
    disk = happens(run_dir, monkeypatch)

    def after_the_first(event: object) -> None:
        if isinstance(event, EpochEvent) and event.epoch == 2:
            disk.__enter__()  # no sooner than the first epoch has been written, maybe while the second is

    try:
        with pytest.raises(FastpathError, match=cause) as caught:
            train.train_run(store, run_dir, _config(), resolve("cpu"), on_event=after_the_first)
    finally:
        disk.__exit__(None, None, None)
    assert str(run_dir) in caught.value.location
    assert "\n" not in str(caught.value)
    assert load_checkpoint(run_dir / directory.LAST).epoch in (1, 2)
    assert not list(run_dir.glob("*.tmp"))
    status = json.loads((run_dir / directory.RUN).read_text())["status"]
    # Where not a byte can be written, no word can be changed: it is the next run that changes it.
    assert status == ("failed" if "checkpoint" in fault or "quota" in fault else "running")
    done = train.train_run(store, run_dir, _config(), resolve("cpu"), resume=True)
    assert (done.status, done.epochs) == ("finished", 3)
    assert [record["epoch"] for record in journal.read(run_dir / directory.JOURNAL)] == [1, 2, 3]


def test_a_journal_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    journal.append(path, {"epoch": 1})
    with faults.full(errno.ENOSPC, 5)(tmp_path, monkeypatch), pytest.raises(FastpathError, match="no space") as caught:
        journal.append(path, {"epoch": 2})
    assert caught.value.location == str(path)
    assert "--resume" in caught.value.remedy
    assert journal.read(path) == [{"epoch": 1}]


def test_the_error_that_ends_a_run_is_told_though_it_cannot_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / directory.RUN).write_text("{}")
    with faults.refused(errno.EROFS)(tmp_path, monkeypatch), pytest.raises(ValueError, match="the very reason"):  # noqa: SIM117
        with directory.failing(tmp_path):
            raise ValueError("the very reason")


def test_a_loss_that_is_not_finite_is_told_though_its_batch_cannot_be_written_down(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _content: bytes) -> None:
        raise FastpathError(path, "cannot be written: no space is left on the disk", "make room")

    monkeypatch.setattr(failure, "write_durably", full)
    with pytest.raises(FastpathError, match=r"loss.*its batch is not written down: .*no space is left"):
        train.train_run(store, tmp_path / "run", _config(optim={"lr_head": 1e30, "lr_trunk": 1e30}), resolve("cpu"))
    assert json.loads((tmp_path / "run" / directory.RUN).read_text())["status"] == "failed"
