"""Stages: the same run twice, and once more with a kill in it. Equal to the bit where that is promised."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.card import patches, saves
from benchmarks.card.check import Check
from fastpath.config import Config
from fastpath.engine import journal
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.runs import run_directory
from fastpath.workflows.train import train

# Small, so that it is over soon; at a size, and with a batch, at which the card takes its usual kernels.
CHANGES = ("train.epochs=2", "data.limit=768", "data.val_limit=128", "data.image_size_px=96", "data.batch_size=64")
TINY = ("train.epochs=2", "data.limit=64", "data.val_limit=8")
DETERMINISTIC = "train.deterministic=true"
PATIENCE_S, POLL_S = 120.0, 0.005


def tell_repeat(check: Check) -> None:
    """Tell whether two runs of one configuration are the same; raises if not."""
    first, second = (_trained(check, name) for name in ("first", "second"))
    _check_same(check, "repeat", "two runs", first, second)


def tell_resume(check: Check) -> None:
    """Tell whether a run that was killed in an epoch, and gone on with, is the run that was not; raises if not."""
    whole, run_dir = _trained(check, "first"), check.scratch / "killed"
    shutil.rmtree(run_dir, ignore_errors=True)
    epoch, step = _killed(check, run_dir)
    train.train_run(patches.store(check), run_dir, _config(check), check.runtime(), resume=True)
    _check_same(check, "resume", f"killed after {epoch} epochs and {step} steps", whole, run_dir)


def _changes(check: Check) -> list[str]:
    return [*(TINY if check.tiny else CHANGES), saves.OFTEN, DETERMINISTIC]


def _config(check: Check) -> Config:
    return check.config(*_changes(check))


def _trained(check: Check, name: str) -> Path:
    """Return the directory of a run that nothing disturbed, trained if it is not there yet."""
    run_dir = check.scratch / f"run-{name}"
    if not run_dir.exists():
        train.train_run(patches.store(check), run_dir, _config(check), check.runtime())
    return run_dir


def _killed(check: Check, run_dir: Path) -> tuple[int, int]:
    """Train in a process, kill it once it has saved in an epoch; return the epochs and steps that were saved."""
    command = [sys.executable, "-m", "fastpath", "train", str(patches.store(check)), "-o", str(run_dir), "-q"]
    options = ["--device", check.device, "--amp", *check.words(*_changes(check))]
    options += ["--threads", str(check.runtime().num_threads)]  # the CPU's sums depend on them
    last, began = run_dir / run_directory.LAST, time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not last.exists() and process.poll() is None and time.perf_counter() - began < PATIENCE_S:
            time.sleep(POLL_S)
    finally:
        process.kill()
    _, errors = process.communicate()
    if process.returncode != -9 or not last.exists():
        last_line = (errors.strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(
            f"the run to be killed ended with {process.returncode} before its first checkpoint: {last_line}"
        )
    kept = load_checkpoint(last)
    return kept.epoch, kept.step


def _check_same(check: Check, stage: str, what: str, first: Path, repeated: Path) -> None:
    row = compared(first, repeated)
    row["agrees"] = row["journals_equal"] and row["weights_equal"]
    check.tell(stage, name=what, **row)
    if not row["agrees"]:
        raise AssertionError(f"{what}: not the same run, bit for bit")


def compared(first: Path, repeated: Path) -> dict[str, Any]:
    """Return whether two runs' journals and last weights are equal, and how far apart they are if not."""
    files = [run / run_directory.JOURNAL for run in (first, repeated)]
    lines = [journal.read(file) for file in files]
    same_length = len(lines[0]) == len(lines[1]) > 0
    pairs = zip(*lines, strict=False)
    apart = max((abs(b["train_loss"] - a["train_loss"]) / abs(a["train_loss"]) for a, b in pairs), default=math.inf)
    states = [load_checkpoint(run / run_directory.LAST).model for run in (first, repeated)]
    moved = [(states[0][name].double() - states[1][name].double()).abs().max().item() for name in states[0]]
    return {
        "journals_equal": files[0].read_bytes() == files[1].read_bytes(),
        "weights_equal": all(torch.equal(states[0][name], states[1][name]) for name in states[0]),
        "loss_apart": apart if same_length else math.inf,
        "weights_apart": max(moved),
    }
