"""A run that `kill -9` ends twenty times, at random steps and at random moments, is the run that nothing ended."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastpath.config import load
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.runtime import Runtime
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

NUM_KILLS, NUM_EPOCHS, EVERY = 20, 36, 3
SETTINGS = f"""
[data]
image_size_px = 16
batch_size = 8
limit = 32
val_limit = 8
sampling = "weighted"
[model]
name = "baseline_cnn"
pretrained = false
trainable = "all"
[schedule]
kind = "onecycle"
[train]
epochs = {NUM_EPOCHS}
checkpoint_minutes = {EVERY}
"""

# Imports once what training needs, then forks a process for every attempt: each starts from the files alone.
# An attempt dies by its own hand as it hears of a given step, or by its parent's at a moment that means nothing to
# it: in a step, a validation, a write. By its clock a step takes a minute. Tells of each kill the steps heard of and
# the steps kept. The curves, which no resume reads, are written and not drawn: most kills of a run of so short epochs
# would fall in their drawing.
NURSERY = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from fastpath.config import load
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.loop import StepEvent
from fastpath.runtime import Runtime
from fastpath.system.files import write_durably
from fastpath.runs import run_directory
from fastpath.workflows.train import train

run_directory.draw_curves = lambda path, *told: write_durably(path, repr(told).encode())
store, run_dir, settings, precision, kills, seed = sys.argv[1:]
run_dir, config, chance = Path(run_dir), load(Path(settings)), random.Random(int(seed))
torch.set_num_threads(1)

def attempt(out, last_words):
    heard = 0
    def listen(event):
        nonlocal heard
        if isinstance(event, StepEvent):
            heard += 1
            os.write(out, f"{event.epoch} {event.step}\\n".encode())
            if heard == last_words:
                os.kill(os.getpid(), signal.SIGKILL)
    runtime = Runtime(torch.device("cpu"), precision=precision, num_threads=1)
    resume = (run_dir / "config.json").exists()
    train.train_run(Path(store), run_dir, config, runtime, resume=resume, on_event=listen, clock=lambda: 60.0 * heard)
    os._exit(0)

def kept():
    path = run_dir / "last.pt"
    checkpoint = load_checkpoint(path) if path.exists() else None
    return (checkpoint.epoch, checkpoint.step) if checkpoint else (0, 0)

def train_once(kill):
    own_hand = kill and chance.random() < 0.6
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        attempt(send, chance.randint(1, 12) if own_hand else 0)
    os.close(send)
    said = os.read(receive, 1)
    if kill and not own_hand:
        time.sleep(chance.uniform(0, 0.15))
        os.kill(pid, signal.SIGKILL)
    while part := os.read(receive, 65536):
        said += part
    os.close(receive)
    return os.waitpid(pid, 0)[1], said

story = []
for _ in range(int(kills)):
    status, said = train_once(kill=True)
    words = said.decode().splitlines()
    heard = tuple(map(int, words[-1].split())) if words else (0, 0)
    story.append({"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "heard": heard, "kept": kept()})
status, _ = train_once(kill=False)
print(json.dumps({"story": story, "status": status}))
"""


# Runs of which each dies as the thread that writes its files calls a function for the n-th time, wherever training is.
WRITER_KILLED = """
import importlib, os, signal, sys, threading
from pathlib import Path
import torch
from fastpath.config import load
from fastpath.engine.loop import StepEvent
from fastpath.runtime import Runtime
from fastpath.workflows.train import train

store, folder, settings, *places = sys.argv[1:]
torch.set_num_threads(1)

def attempt(run_dir, place):
    module, name, calls = place.split()
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    usual, left, heard = getattr(owner, name), int(calls), 0

    def last(*given, **named):
        nonlocal left
        left -= threading.current_thread() is not threading.main_thread()
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(*given, **named)

    def listen(event):
        nonlocal heard
        heard += isinstance(event, StepEvent)

    setattr(owner, name, last)
    runtime = Runtime(torch.device("cpu"), num_threads=1)
    train.train_run(Path(store), run_dir, load(Path(settings)), runtime, on_event=listen, clock=lambda: 60.0 * heard)
    os._exit(0)

for number, place in enumerate(places):
    pid = os.fork()
    if pid == 0:
        attempt(Path(folder) / str(number), place)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (place, status)
"""
PLACES = (
    "fastpath.engine.archive _Sink.write 50",  # half of the first file is there
    "fastpath.engine.archive _Sink.write 500",  # and of a later one
    "fastpath.runs.run_directory save_checkpoint 1",  # the journal is ahead, with no checkpoint of an epoch at all
    "fastpath.runs.run_directory save_checkpoint 3",  # the journal is ahead of the checkpoint
    "fastpath.runs.run_directory share_file 1",  # best.pt is ahead of last.pt
    "fastpath.engine.archive sync_directory 1",  # last.pt is there, but the curves and all that follows are not
)


def train_killed(
    store: Path, run_dir: Path, settings: Path, precision: str, num_kills: int, seed: int
) -> dict[str, object]:
    command = [sys.executable, "-c", NURSERY, *map(str, (store, run_dir, settings, precision, num_kills, seed))]
    # One thread from the start: a forked process has none of its parent's others.
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=500, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    killings: dict[str, object] = json.loads(ended.stdout)
    return killings


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train_kill") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_twenty_kills_change_no_bit(store: Path, precision: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train_killed(store, whole, settings, precision, 0, seed=0)["status"] == 0
    killings = train_killed(store, killed, settings, precision, NUM_KILLS, seed=5)
    assert killings["status"] == 0
    num_steps, before = 4, 0  # an epoch
    for attempt in killings["story"]:  # type: ignore[attr-defined]
        assert attempt["signal"] == 9
        (epoch, step), (kept_epoch, kept_step) = attempt["heard"], attempt["kept"]
        kept = kept_epoch * num_steps + kept_step
        # The last save may not be on the disk yet, but the one before it is.
        assert kept >= max(before, epoch * num_steps + step - 2 * (EVERY + 1))
        before = kept
    assert_same_run(killed, whole)


@pytest.mark.usefixtures("one_thread")
def test_a_kill_in_the_thread_that_writes_changes_no_bit(store: Path, tmp_path: Path) -> None:
    settings, runtime = tmp_path / "settings.toml", Runtime(torch.device("cpu"), num_threads=1)
    settings.write_text(SETTINGS.replace(f"epochs = {NUM_EPOCHS}", "epochs = 4"))
    config = load(settings)
    train.train_run(store, tmp_path / "whole", config, runtime)
    command = [sys.executable, "-c", WRITER_KILLED, str(store), str(tmp_path), str(settings), *PLACES]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=500, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    for number, _ in enumerate(PLACES):
        train.train_run(store, tmp_path / str(number), config, runtime, resume=True)
        assert_same_run(tmp_path / str(number), tmp_path / "whole")


def test_a_full_disk_ends_the_run_in_one_line_and_costs_nothing(store: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS.replace(f"epochs = {NUM_EPOCHS}", "epochs = 2"))
    whole, full = tmp_path / "whole", tmp_path / "full"
    command = [sys.executable, "-m", "fastpath", "train", str(store), "--device", "cpu", "--threads", "1", "-q"]
    subprocess.run([*command, "-o", str(whole), "--config", str(settings)], check=True, capture_output=True)
    shutil.copytree(whole, full)
    for name in ("best.pt", "last.pt"):
        (full / name).unlink()
    room = (whole / "last.pt").stat().st_size // 2
    # Files may grow to half a checkpoint: the first that is written fails as on a full disk.
    limited = subprocess.run(
        [*command, "-o", str(full), "--resume"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 1
    assert "best.pt: cannot be written: the file would exceed the largest size allowed; make room" in limited.stderr
    assert len(limited.stderr.splitlines()) == 1
    assert not list(full.glob("*.tmp"))
    subprocess.run([*command, "-o", str(full), "--resume"], check=True, capture_output=True)
    assert_same_run(full, whole)


def assert_same_run(run_dir: Path, wanted: Path) -> None:
    """Equal weights and optimiser, bit for bit, and equal journals, byte for byte."""
    for name in ("best.pt", "last.pt"):
        ours, theirs = load_checkpoint(run_dir / name), load_checkpoint(wanted / name)
        assert all(torch.equal(value, theirs.model[key]) for key, value in ours.model.items())
        for number, state in ours.optimizer["state"].items():
            assert all(torch.equal(value, theirs.optimizer["state"][number][key]) for key, value in state.items())
        assert (ours.epoch, ours.step, ours.best_auc) == (theirs.epoch, theirs.step, theirs.best_auc)
    for name in ("journal.jsonl", "history.csv", "config.json"):
        assert (run_dir / name).read_bytes() == (wanted / name).read_bytes()
