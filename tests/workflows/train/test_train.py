"""Training runs on a small synthetic store: what they leave, that they repeat, and that they resume exactly."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastpath.config import Config, parse
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.loop import EpochEvent, StepEvent
from fastpath.errors import CheckpointError, ConfigError, DataError, StoreError, UsageError
from fastpath.ingest.split import write_split, write_split_from_csv
from fastpath.runs.run_data import RunData
from fastpath.runtime import Runtime
from fastpath.store.reader import open_store
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.dali, pytest.mark.usefixtures("one_thread")]

ONE_THREAD = Runtime(torch.device("cpu"), num_threads=1)
NUM_EPOCHS = 2
NUM_STEPS = 4  # of 16 patches, as 4 of the 6 slides are trained on
SETTINGS: dict[str, Any] = {
    "optim": {},
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "weighted"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "schedule": {"kind": "onecycle"},
    "train": {"epochs": NUM_EPOCHS, "checkpoint_minutes": 2},
}

# A process of its own that dies by SIGKILL as soon as it has heard a given number of steps, of which each takes it a
# minute by its clock.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from fastpath.config import load
from fastpath.engine.loop import StepEvent
from fastpath.runtime import Runtime
from fastpath.workflows.train import train
store, run_dir, config, steps = sys.argv[1:]
torch.set_num_threads(1)
num_seen = 0
def listen(event):
    global num_seen
    num_seen += isinstance(event, StepEvent)
    if num_seen == int(steps):
        os.kill(os.getpid(), signal.SIGKILL)
runtime = Runtime(torch.device("cpu"), num_threads=1)
train.train_run(Path(store), Path(run_dir), load(Path(config)), runtime, on_event=listen, clock=lambda: 60.0 * num_seen)
"""


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="module")
def whole(store: Path) -> Path:
    """A run that nothing interrupted."""
    torch.set_num_threads(1)
    run_dir = store.parent / "whole"
    train.train_run(store, run_dir, config(), ONE_THREAD)
    return run_dir


def config(**changes: dict[str, Any]) -> Config:
    return parse({key: value | changes.get(key, {}) for key, value in SETTINGS.items()})


def assert_same_run(run_dir: Path, wanted: Path) -> None:
    """Equal weights, bit for bit, and equal journals, byte for byte."""
    for name in ("best.pt", "last.pt"):
        ours, theirs = load_checkpoint(run_dir / name), load_checkpoint(wanted / name)
        assert all(torch.equal(value, theirs.model[key]) for key, value in ours.model.items())
        assert (ours.epoch, ours.step, ours.best_auc) == (theirs.epoch, theirs.step, theirs.best_auc)
    for name in ("journal.jsonl", "history.csv", "config.json"):
        assert (run_dir / name).read_bytes() == (wanted / name).read_bytes()


def interrupt_after(steps: int) -> Callable[[object], None]:
    num_steps_seen = 0

    def listen(event: object) -> None:
        nonlocal num_steps_seen
        num_steps_seen += isinstance(event, StepEvent)
        if num_steps_seen == steps and isinstance(event, StepEvent):
            signal.raise_signal(signal.SIGINT)

    return listen


def test_a_run_leaves_all_it_should(whole: Path, store: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert names == {
        *("config.json", "run.json", "journal.jsonl", "timings.jsonl", "history.csv"),
        *("best.pt", "last.pt", "curves.png", "appearance.json", "run.log"),
    }
    document = json.loads((whole / "run.json").read_text())
    assert document["status"] == "finished"
    assert document["store"] == str(store.resolve())
    assert document["store_fingerprint"] == open_store(store).fingerprint
    assert document["versions"]["torch"] == torch.__version__.split("+")[0]
    assert parse(json.loads((whole / "config.json").read_text())) == config()
    rows = list(csv.DictReader((whole / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    best = max(rows, key=lambda row: float(row["val_auc"]))
    assert load_checkpoint(whole / "best.pt").best_auc == float(best["val_auc"]) == document["best_auc"]
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_two_runs_are_equal(store: Path, whole: Path, tmp_path: Path) -> None:
    events: list[object] = []
    result = train.train_run(store, tmp_path / "run", config(), ONE_THREAD, on_event=events.append)
    assert_same_run(tmp_path / "run", whole)
    start = events[0]
    assert isinstance(start, train.StartEvent)
    assert start.num_steps == NUM_STEPS
    assert sum(isinstance(event, StepEvent) for event in events) == NUM_EPOCHS * NUM_STEPS
    assert [event.epoch for event in events if isinstance(event, EpochEvent)] == [1, 2]
    assert (result.status, result.epochs) == ("finished", NUM_EPOCHS)


def test_validation_in_larger_batches_is_the_same_up_to_rounding(store: Path, whole: Path, tmp_path: Path) -> None:
    other, run_dir = config(data={"eval_batch_size": 21}), tmp_path / "run"
    train.train_run(store, run_dir, other, ONE_THREAD, on_event=interrupt_after(NUM_STEPS + 1))
    train.train_run(store, run_dir, other, ONE_THREAD, resume=True)
    ours, theirs = (load_checkpoint(path / "last.pt").model for path in (run_dir, whole))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    epochs = [map(json.loads, (path / "journal.jsonl").read_text().splitlines()) for path in (run_dir, whole)]
    for epoch, wanted in zip(*epochs, strict=True):
        assert epoch == wanted | {key: pytest.approx(wanted[key], abs=1e-5) for key in ("val_loss", "val_auc")}
    with pytest.raises(CheckpointError, match=r"data.eval_batch_size: found 21, wanted 0"):
        train.train_run(store, run_dir, config(), ONE_THREAD, resume=True)


def test_another_seed_is_another_run(store: Path, whole: Path, tmp_path: Path) -> None:
    train.train_run(store, tmp_path / "run", config().model_copy(update={"seed": 7}), ONE_THREAD)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() != (whole / "journal.jsonl").read_bytes()


@pytest.mark.parametrize("steps", [1, 3, 4, 6])
def test_a_run_stopped_by_ctrl_c_resumes_exactly(store: Path, whole: Path, tmp_path: Path, steps: int) -> None:
    run_dir = tmp_path / "run"
    stopped = train.train_run(store, run_dir, config(), ONE_THREAD, on_event=interrupt_after(steps))
    assert stopped.status == json.loads((run_dir / "run.json").read_text())["status"] == "interrupted"
    kept = load_checkpoint(run_dir / "last.pt")
    assert (kept.epoch, kept.step) == ((steps - 1) // NUM_STEPS, (steps - 1) % NUM_STEPS + 1)
    assert train.train_run(store, run_dir, config(), ONE_THREAD, resume=True).status == "finished"
    assert_same_run(run_dir, whole)


@pytest.mark.e2e
@pytest.mark.parametrize("steps", [1, 7])
def test_a_killed_run_resumes_exactly(store: Path, whole: Path, tmp_path: Path, steps: int) -> None:
    run_dir, settings = tmp_path / "run", tmp_path / "settings.toml"
    settings.write_text(
        '[data]\nimage_size_px = 16\nbatch_size = 16\nsampling = "weighted"\n'
        '[model]\nname = "baseline_cnn"\npretrained = false\ntrainable = "all"\n'
        '[schedule]\nkind = "onecycle"\n[train]\nepochs = 2\ncheckpoint_minutes = 2\n'
    )
    command = [sys.executable, "-c", KILLED, str(store), str(run_dir), str(settings), str(steps)]
    ended = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (run_dir / "last.pt").exists() == (steps > 1)  # the first epoch's at the latest
    train.train_run(store, run_dir, config(), ONE_THREAD, resume=True)
    assert_same_run(run_dir, whole)


def test_a_crash_between_journal_and_checkpoint_loses_and_repeats_nothing(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    train.train_run(store, run_dir, config(), ONE_THREAD, on_event=interrupt_after(3))
    before = (run_dir / "last.pt").read_bytes()
    train.train_run(store, run_dir, config(), ONE_THREAD, resume=True)
    (run_dir / "last.pt").unlink()  # maybe one file with best.pt
    (run_dir / "last.pt").write_bytes(before)  # the journal is ahead of it now
    with (run_dir / "journal.jsonl").open("ab") as file:
        file.write(b'{"epoch": 3, "tr')
    train.train_run(store, run_dir, config(), ONE_THREAD, resume=True)
    assert_same_run(run_dir, whole)


def test_resuming_a_finished_run_changes_nothing(store: Path, whole: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(whole, run_dir)
    assert train.train_run(store, run_dir, config(), ONE_THREAD, resume=True).status == "finished"
    assert_same_run(run_dir, whole)


def _rates(run_dir: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (run_dir / "journal.jsonl").read_text().splitlines())
    return [(line["epoch"], line["lr_head"]) for line in lines]


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        ("plateau", NUM_STEPS + 1),
        ("cosine to 5", 2 * NUM_STEPS),
        ("cosine", 2 * NUM_STEPS),
        ("onecycle", NUM_STEPS + 1),
    ],
)
def test_a_run_is_extended_along_the_schedule_of_its_new_length(
    store: Path, tmp_path: Path, schedule: str, steps: int
) -> None:
    kind, _, t_max = schedule.partition(" to ")
    schedule_config = {"kind": kind, "t_max_epochs": int(t_max or 0), "step_epochs": 1, "patience_epochs": 0}
    short, long = (
        config(schedule=schedule_config, train={"epochs": epochs}) for epochs in (NUM_EPOCHS, NUM_EPOCHS + 1)
    )
    train.train_run(store, tmp_path / "at_once", long, ONE_THREAD)
    train.train_run(store, tmp_path / "run", short, ONE_THREAD, on_event=interrupt_after(steps))
    events: list[Any] = []
    done = train.train_run(store, tmp_path / "run", long, ONE_THREAD, resume=True, on_event=events.append)
    assert (done.status, done.epochs) == ("finished", NUM_EPOCHS + 1)
    warnings = " ".join(events[0].warnings)
    assert f"the run goes on to {NUM_EPOCHS + 1} epochs, in place of {NUM_EPOCHS}" in warnings
    spans_the_run = schedule in ("onecycle", "warmup_cosine", "cosine")
    assert (f"the {kind} schedule is that of {NUM_EPOCHS + 1} epochs" in warnings) == spans_the_run
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["epochs"] == NUM_EPOCHS + 1
    if spans_the_run:
        assert _rates(tmp_path / "run")[-1] == _rates(tmp_path / "at_once")[-1]
        assert len(_rates(tmp_path / "run")) == NUM_EPOCHS + 1
    else:
        assert_same_run(tmp_path / "run", tmp_path / "at_once")


def test_an_extension_that_dies_before_its_first_checkpoint_goes_on(store: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    longer = config(train={"epochs": NUM_EPOCHS + 1})
    (tmp_path / "run" / "config.json").write_text(json.dumps(longer.to_dict()))
    assert train.train_run(store, tmp_path / "run", longer, ONE_THREAD, resume=True).epochs == NUM_EPOCHS + 1


def unchanging(early_stop_epochs: int) -> Config:
    """A run whose weights no step moves by a bit, so that no epoch after the first has a better AUC."""
    still = {"lr_head": 1e-38, "lr_trunk": 1e-38, "weight_decay": 0.0}
    stopping = {"epochs": 5, "early_stop_epochs": early_stop_epochs}
    return config(model={"trainable": "head", "batchnorm": "frozen"}, optim=still, train=stopping)


def test_a_run_that_stopped_early_goes_on_where_that_is_lifted(store: Path, tmp_path: Path) -> None:
    assert train.train_run(store, tmp_path / "run", unchanging(1), ONE_THREAD).epochs == 2
    assert train.train_run(store, tmp_path / "run", unchanging(0), ONE_THREAD, resume=True).epochs == 5


def test_early_stopping_counts_epochs_without_a_better_auc(store: Path, tmp_path: Path) -> None:
    events: list[Any] = []
    result = train.train_run(store, tmp_path / "run", unchanging(2), ONE_THREAD, on_event=events.append)
    epochs = [event for event in events if isinstance(event, EpochEvent)]
    assert [event.improved for event in epochs] == [True, False, False]
    assert len({event.val_auc for event in epochs}) == 1
    assert (result.status, result.epochs, result.best_epoch) == ("stopped early", 3, 1)
    again = train.train_run(store, tmp_path / "run", unchanging(2), ONE_THREAD, resume=True)
    assert again.status == "stopped early"


def test_limits_draw_both_classes(store: Path, tmp_path: Path) -> None:
    events: list[Any] = []
    limited = config(data={"limit": 20, "val_limit": 8}, train={"epochs": 1})
    train.train_run(store, tmp_path / "run", limited, ONE_THREAD, on_event=events.append)
    assert (events[0].num_train, events[0].num_val, events[0].num_steps) == (20, 8, 2)
    with pytest.raises(ConfigError, match=r"data\.limit: found 1, which cannot be drawn"):
        train.train_run(store, tmp_path / "other", config(data={"limit": 1}), ONE_THREAD)
    assert not (tmp_path / "other").exists()


def test_a_frozen_trunk_keeps_its_weights(store: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    frozen = {"name": "test_resnet", "pretrained": False, "trainable": "head", "batchnorm": "frozen"}
    settings = config(model=frozen, data={"image_size_px": 32, "limit": 16, "val_limit": 8}, train={"epochs": 1})
    for seed, name in ((42, "a"), (42, "b")):
        stop = interrupt_after(1) if name == "b" else None
        changed = settings.model_copy(update={"seed": seed})
        train.train_run(store, tmp_path / name, changed, ONE_THREAD, on_event=stop)
    early, late = (load_checkpoint(tmp_path / name / "last.pt").model for name in ("b", "a"))
    moved = {key for key in early if not torch.equal(early[key], late[key])}
    assert moved <= {"trunk.fc.weight", "trunk.fc.bias"}


class TestRefusals:
    """Each is one line, and leaves nothing behind."""

    def test_a_directory_that_holds_a_run(self, store: Path, whole: Path) -> None:
        before = {path.name: path.read_bytes() for path in whole.iterdir()}
        with pytest.raises(UsageError, match="already holds a run; add --resume"):
            train.train_run(store, whole, config(), ONE_THREAD)
        assert {path.name: path.read_bytes() for path in whole.iterdir()} == before

    def test_a_file_in_the_way(self, store: Path, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("mine")
        with pytest.raises(UsageError, match="found a file, wanted a directory"):
            train.train_run(store, tmp_path / "run", config(), ONE_THREAD)

    def test_nothing_to_resume(self, store: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="found no run to resume"):
            train.train_run(store, tmp_path / "run", config(), ONE_THREAD, resume=True)
        assert not (tmp_path / "run").exists()

    def test_another_configuration(self, store: Path, whole: Path) -> None:
        other = config(train={"epochs": 3}, data={"batch_size": 8})
        with pytest.raises(CheckpointError, match=r"\(data\.batch_size: found 16, wanted 8\).*except train\.epochs, "):
            train.train_run(store, whole, other, ONE_THREAD, resume=True)

    def test_fewer_epochs_than_are_trained(self, store: Path, whole: Path) -> None:
        before = (whole / "config.json").read_bytes()
        with pytest.raises(
            CheckpointError, match=r"train\.epochs: found 1, and the run in .* is in epoch 2 or past it"
        ):
            train.train_run(store, whole, config(train={"epochs": 1}), ONE_THREAD, resume=True)
        assert (whole / "config.json").read_bytes() == before

    def test_another_configuration_before_the_first_checkpoint(self, store: Path, whole: Path, tmp_path: Path) -> None:
        shutil.copy(whole / "config.json", tmp_path)
        with pytest.raises(CheckpointError, match=r"data\.batch_size: found 16, wanted 8"):
            train.train_run(store, tmp_path, config(data={"batch_size": 8}), ONE_THREAD, resume=True)

    def test_another_split(self, store: Path, whole: Path, tmp_path: Path) -> None:
        other = tmp_path / "store"
        shutil.copytree(store, other)
        write_split(open_store(other), "random", seed=1)
        with pytest.raises(CheckpointError, match="belongs to another split: found"):
            train.train_run(other, whole, config(), ONE_THREAD, resume=True)

    def test_a_damaged_checkpoint(self, store: Path, whole: Path, tmp_path: Path) -> None:
        shutil.copytree(whole, tmp_path / "run")
        (tmp_path / "run" / "last.pt").write_bytes(b"not a checkpoint")
        with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
            train.train_run(store, tmp_path / "run", config(), ONE_THREAD, resume=True)

    def test_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="wanted the directory of a packed store"):
            train.train_run(tmp_path / "store", tmp_path / "run", config(), ONE_THREAD)
        assert not (tmp_path / "run").exists()

    def test_an_unlabelled_split(self, kaggle_folder: Path, tmp_path: Path) -> None:
        files = sorted((kaggle_folder / "train").iterdir())
        rows = [f"{file},{number % 2 if number < 40 else ''}" for number, file in enumerate(files)]
        (tmp_path / "patches.csv").write_text("\n".join(["path,label", *rows]) + "\n")
        pack.pack_source(tmp_path / "patches.csv", tmp_path / "store", workers=1)
        parts = [f"{file.stem},{'val' if number < 20 else 'train'}" for number, file in enumerate(files)]
        (tmp_path / "split.csv").write_text("\n".join(["id,split", *parts]) + "\n")
        write_split_from_csv(open_store(tmp_path / "store"), tmp_path / "split.csv")
        with pytest.raises(DataError, match="unlabelled patches in the train split"):
            train.train_run(tmp_path / "store", tmp_path / "run", config(), ONE_THREAD)

    def test_a_directory_in_use(self, store: Path, tmp_path: Path) -> None:
        from fastpath.runs.run_directory import claimed

        with claimed(tmp_path / "run"), pytest.raises(UsageError, match="another process is training here"):
            train.train_run(store, tmp_path / "run", config(), ONE_THREAD)

    def test_a_run_that_appeared_since_the_directory_was_looked_at(
        self, store: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the check and the claim another process trains a whole run: it is not begun anew."""
        run_dir, usual = tmp_path / "run", train.open_run_data

        def meanwhile(*arguments: Any, **named: Any) -> RunData:
            shutil.copytree(whole, run_dir, dirs_exist_ok=True, copy_function=shutil.copy)
            return usual(*arguments, **named)

        for resume in (False, True):
            before = sorted(path.name for path in run_dir.iterdir()) if run_dir.exists() else []
            assert bool(before) == resume
            monkeypatch.setattr(train, "open_run_data", meanwhile)
            with pytest.raises(UsageError, match="another process has trained here meanwhile"):
                train.train_run(store, run_dir, config(), ONE_THREAD, resume=resume)
            assert_same_run(run_dir, whole)
            assert (run_dir / "run.json").read_bytes() == (whole / "run.json").read_bytes()
