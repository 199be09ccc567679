"""`fastpath train` with Mixup and CutMix: a run learns from mixed labels, and resumes bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastpath.config import MixConfig, load
from fastpath.data.augment import mix
from fastpath.data.loader import train_loader
from fastpath.engine import loop
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.loop import StepEvent
from fastpath.runs.run_data import open_run_data
from fastpath.runtime import Runtime
from fastpath.types import Batch
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

CPU = Runtime(torch.device("cpu"), num_threads=1)
SETTINGS = """
[data]
image_size_px = 16
batch_size = 16
[data.mix]
mixup_p = 0.5
cutmix_p = 0.4
[model]
name = "baseline_cnn"
pretrained = false
trainable = "all"
[train]
epochs = 3
checkpoint_minutes = 1
"""


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train_mixed") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train_mixed_settings") / "mixed.toml"
    path.write_text(SETTINGS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(store: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line that nothing interrupted."""
    run_dir = tmp_path_factory.mktemp("train_mixed_run") / "whole"
    command = [sys.executable, "-m", "fastpath", "train", store, "-o", run_dir, "--config", settings]
    command += ["--device", "cpu", "--threads", "1", "--json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "finished"
    return run_dir


class Stopped(Exception):
    """Ends a run between two steps, as a power cut does."""


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("steps", [1, 6])  # in the midst of the first epoch, and of the second
def test_a_run_that_stops_between_two_steps_resumes_bit_for_bit(
    store: Path, settings: Path, whole: Path, tmp_path: Path, steps: int
) -> None:
    run_dir, config, num_steps_seen = tmp_path / "cut", load(settings), 0

    def listen(event: object) -> None:
        nonlocal num_steps_seen
        num_steps_seen += isinstance(event, StepEvent)
        if num_steps_seen == steps:
            raise Stopped

    with pytest.raises(Stopped):
        train.train_run(store, run_dir, config, CPU, on_event=listen, clock=count(step=60).__next__)
    reached = load_checkpoint(run_dir / "last.pt")
    assert reached.epoch * 4 + reached.step == steps
    train.train_run(store, run_dir, config, CPU, resume=True)
    assert (run_dir / "journal.jsonl").read_bytes() == (whole / "journal.jsonl").read_bytes()
    ours, theirs = (load_checkpoint(path / "last.pt").model for path in (run_dir, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def overlap(low: float, high: float) -> float:
    """Return the share of the middle third of 16 pixels that lies between two edges."""
    return max(0.0, min(high, 32 / 3) - max(low, 16 / 3)) / (16 / 3)


@pytest.mark.usefixtures("one_thread")
def test_what_a_run_trains_on_is_mixed_and_labelled_by_what_it_shows(
    store: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seen = load(settings), []
    real = loop.make_step

    def spied(*made_of: Any, **named: Any) -> Callable[[Batch], torch.Tensor]:
        step = real(*made_of, **named)

        def spied_step(batch: Batch) -> torch.Tensor:
            seen.append(batch)
            return step(batch)

        return spied_step

    monkeypatch.setattr(loop, "make_step", spied)
    train.train_run(store, tmp_path / "run", config, CPU)
    data = open_run_data(store, config)
    unmixed = config.model_copy(update={"data": config.data.model_copy(update={"mix": MixConfig()})})
    ways = set()
    with closing(train_loader(data.train, unmixed, CPU)) as loader:
        plain = [batch for epoch in range(3) for batch in loader.epoch(epoch)]
    for number, (trained_batch, own) in enumerate(zip(seen, plain, strict=True)):
        epoch, step = divmod(number, 4)
        drawn = mix.draw_mixing(config.data.mix, config.seed, epoch, range(step * 16, step * 16 + 16))
        assert torch.equal(trained_batch.indices_N, own.indices_N)
        for place in range(16):
            top, left, bottom, right = np.rint(drawn.box_N4[place] * 16).astype(int)
            blend, images, labels = float(drawn.blend_N[place]), own.images_NCHW, own.labels_N
            wanted = (1 - blend) * images[place] + blend * images[place ^ 1]
            wanted[:, top:bottom, left:right] = images[place ^ 1][:, top:bottom, left:right]
            torch.testing.assert_close(trained_batch.images_NCHW[place], wanted)
            share = blend or overlap(top, bottom) * overlap(left, right)
            label = (1 - share) * float(labels[place]) + share * float(labels[place ^ 1])
            assert float(trained_batch.labels_N[place]) == pytest.approx(label, abs=1e-6)
            ways.add("mixup" if blend else "cutmix" if bottom > top else "none")
    assert ways == {"mixup", "cutmix", "none"}
    mixed_labels = torch.cat([batch.labels_N for batch in seen])
    assert 0.1 < ((mixed_labels > 0) & (mixed_labels < 1)).float().mean() < 0.9
