"""Training as several processes under torchrun: one run, the same as one process's, that outlives a lost rank."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fastpath.config import load
from fastpath.data.loader import eval_loader
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.step import LogitTable, infer
from fastpath.model.registry import build
from fastpath.runtime import Runtime
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import ChannelStats, Samples, Split
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

ALONE = Runtime(torch.device("cpu"), num_threads=1)
NUM_EPOCHS = 3
SETTINGS = {
    "model.name": "test_resnet",  # no dropout: masks are drawn by each rank for its own samples
    "model.pretrained": "false",
    "model.trainable": "all",
    "data.image_size_px": "64",
    "data.batch_size": "21",  # of 64 training patches: the last step has one, and one rank none
    "optim.lr_head": "0.003",
    "optim.lr_trunk": "0.003",
    "schedule.kind": "plateau",
    "train.epochs": str(NUM_EPOCHS),
    "train.sync_batchnorm": "true",
}


def overrides(**changes: str) -> list[str]:
    values = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    return [f"{name}={value}" for name, value in values.items()]


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchrun_train") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def launched(
    store: Path, run_dir: Path, settings: list[str], *arguments: str, ranks: int = 2, restarts: int = 0
) -> Any:
    launcher = ["--standalone", f"--nproc-per-node={ranks}", f"--max-restarts={restarts}", "-m", "fastpath", "train"]
    changes = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, store, "-o", run_dir, *changes]
    command += ["--device", "cpu", "--threads", "1", "--json", *arguments]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def journal(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "journal.jsonl").read_text(encoding="utf-8").splitlines()]


def rank_process(launcher: int, rank: int) -> int:
    """Return the process of a rank among the launcher's children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1]
                if int(parent) == launcher and f"\0RANK={rank}\0".encode() in (entry / "environ").read_bytes():
                    return int(entry.name)
    raise AssertionError(f"found no rank {rank}")


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


# Adam divides by the size of a gradient, so where that is nearly nothing, rounding decides the direction of a step:
# runs that train all layers drift apart, the slower the smaller the rate.
FROZEN = {"model__trainable": "head", "model__batchnorm": "frozen", "model__recalibrate": "2"}
SYNCHRONISED = {"data__batch_size": "16", "optim__lr_head": "0.0001", "optim__lr_trunk": "0.0001"}


@pytest.mark.parametrize(("changes", "tolerance"), [(FROZEN, 1e-5), (SYNCHRONISED, 1e-3)], ids=["frozen", "sync"])
def test_two_ranks_make_the_run_of_one(store: Path, tmp_path: Path, changes: dict[str, str], tolerance: float) -> None:
    alone, ranked, settings = tmp_path / "alone", tmp_path / "ranked", overrides(**changes)
    process = launched(store, ranked, settings)
    torch.set_num_threads(1)
    train.train_run(store, alone, load(None, settings), ALONE)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert json.loads(out)["epochs"] == NUM_EPOCHS  # one result, from one rank
    wanted, ranked_epochs = journal(alone), journal(ranked)
    assert [line["epoch"] for line in ranked_epochs] == [1, 2, 3]
    for ours, theirs in zip(ranked_epochs, wanted, strict=True):
        losses = {name: value for name, value in theirs.items() if name.endswith("loss")}
        assert {name: ours[name] for name in losses} == pytest.approx(losses, rel=tolerance)
    assert (ranked / "config.json").read_bytes() == (alone / "config.json").read_bytes()
    # The AUC of the journal is scikit-learn's on the table of all ranks, no patch lost and none counted twice.
    config, packed, checkpoint = load(None, settings), open_store(store), load_checkpoint(ranked / "last.pt")
    model = build(config.model, 64)
    model.load_state_dict(checkpoint.model)
    split = read_split(packed)
    loader = eval_loader(Samples(packed, split.rows(Split.VAL), ChannelStats(split.mean_3, split.std_3)), config, ALONE)
    table = LogitTable(ALONE)
    for batch, logits_N in infer(model, loader, ALONE):
        table.add(batch, logits_N)
    scored = table.predictions()
    assert ranked_epochs[-1]["val_auc"] == roc_auc_score(scored.labels_N, scored.logits_N)
    each = np.logaddexp(0, scored.logits_N.astype(np.float64)) - scored.labels_N * scored.logits_N
    assert ranked_epochs[-1]["val_loss"] == pytest.approx(float(each.mean()), rel=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_lost_rank_ends_the_run_and_it_resumes_on_another_number(store: Path, tmp_path: Path) -> None:
    run_dir, settings = (
        tmp_path / "run",
        overrides(train__epochs="30", train__checkpoint_minutes="1e-6", train__accumulate="2"),
    )
    process = launched(store, run_dir, settings)
    wait_for(run_dir / "last.pt", process)
    os.kill(rank_process(process.pid, 1), signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "rank 0 of 2: lost contact with another rank" in error
    assert f"the run in {run_dir} goes on from its last checkpoint with --resume" in error
    assert json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["status"] == "failed"
    reached = load_checkpoint(run_dir / "last.pt")
    assert reached.epoch < 30
    torch.set_num_threads(1)
    result = train.train_run(store, run_dir, load(None, settings), ALONE, resume=True)
    assert result.status == "finished"
    assert [line["epoch"] for line in journal(run_dir)] == list(range(1, 31))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_torchrun_restarts_a_run_where_it_stood(store: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = launched(store, run_dir, overrides(train__epochs="12", train__checkpoint_minutes="1e-6"), restarts=1)
    wait_for(run_dir / "last.pt", process)
    os.kill(rank_process(process.pid, 1), signal.SIGKILL)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-6000:]
    assert "going on after epoch" in error
    assert [line["epoch"] for line in journal(run_dir)] == list(range(1, 13))
