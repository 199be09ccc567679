"""Runs in stages: what each trains, that they resume exactly, and what a run leaves that fails."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastpath import config as configuration
from fastpath.config import Config, parse
from fastpath.data.loader import train_loader
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.loop import EpochEvent, StepEvent
from fastpath.errors import ConfigError, FastpathError
from fastpath.model.registry import build
from fastpath.runs import train_stages
from fastpath.runs.run_data import open_run_data
from fastpath.runtime import Runtime
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.dali, pytest.mark.usefixtures("one_thread")]

ONE_THREAD = Runtime(torch.device("cpu"), num_threads=1)
# 64 patches: steps of 4, then 4, then 2 an epoch; the second and third stage share an optimiser.
SETTINGS: dict[str, Any] = {
    "data": {"image_size_px": 48, "batch_size": 16, "sampling": "systematic", "augment": {"policy": "d4"}},
    "model": {"name": "test_resnet", "pretrained": False, "trainable": "all"},
    "optim": {"name": "adamw", "lr_head": 1e-3, "lr_trunk": 1e-3},
    "schedule": {"kind": "onecycle"},
    "train": {"ema_decay": 0.9, "label_smoothing": 0.1},
    "stages": [
        {
            "epochs": 1,
            "data": {"image_size_px": 32},
            "model": {"trainable": "head", "batchnorm": "folded"},
            "schedule": {"kind": "constant"},
        },
        {"epochs": 1, "data": {"image_size_px": 32}},
        {"epochs": 1, "data": {"batch_size": 32}},
    ],
}


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stages") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="module")
def whole(store: Path) -> tuple[Path, list[Any]]:
    torch.set_num_threads(1)
    events: list[Any] = []
    train.train_run(store, store.parent / "whole", parse(SETTINGS), ONE_THREAD, on_event=events.append)
    return store.parent / "whole", events


def stop_after(steps: int) -> Callable[[object], None]:
    num_steps_seen = 0

    def listen(event: object) -> None:
        nonlocal num_steps_seen
        num_steps_seen += isinstance(event, StepEvent)
        if num_steps_seen == steps and isinstance(event, StepEvent):
            signal.raise_signal(signal.SIGINT)

    return listen


def test_stages_make_one_run(whole: tuple[Path, list[Any]]) -> None:
    run_dir, events = whole
    steps = [(event.epoch, event.num_steps) for event in events if isinstance(event, StepEvent)]
    assert steps == [(0, 4)] * 4 + [(1, 4)] * 4 + [(2, 2)] * 2
    rates = [event.learning_rates for event in events if isinstance(event, EpochEvent)]
    assert [list(rate) for rate in rates] == [["head"], ["head", "trunk"], ["head", "trunk"]]
    assert rates[1]["head"] > rates[2]["head"]  # one cycle over the last two
    rows = list(csv.DictReader((run_dir / "history.csv").read_text().splitlines()))
    assert [bool(row["lr_trunk"]) for row in rows] == [False, True, True]


def test_the_head_stage_moves_the_head_alone_and_the_average_is_scored(store: Path, tmp_path: Path) -> None:
    models = []
    for steps in (1, 4):
        train.train_run(store, tmp_path / str(steps), parse(SETTINGS), ONE_THREAD, on_event=stop_after(steps))
        models.append(load_checkpoint(tmp_path / str(steps) / "last.pt"))
    early, late = models
    moved = {key for key in early.model if not torch.equal(early.model[key], late.model[key])}
    assert moved == {"trunk.fc.weight", "trunk.fc.bias"}
    assert late.num_averaged == 4
    assert late.weights is late.average
    assert not torch.equal(late.average["trunk.fc.weight"], late.model["trunk.fc.weight"])


@pytest.mark.parametrize("steps", [2, 4, 6, 8, 9])
def test_a_course_resumes_exactly(store: Path, whole: tuple[Path, list[Any]], tmp_path: Path, steps: int) -> None:
    run_dir = tmp_path / "run"
    train.train_run(store, run_dir, parse(SETTINGS), ONE_THREAD, on_event=stop_after(steps))
    assert train.train_run(store, run_dir, parse(SETTINGS), ONE_THREAD, resume=True).status == "finished"
    for name in ("best.pt", "last.pt"):
        ours, theirs = load_checkpoint(run_dir / name), load_checkpoint(whole[0] / name)
        assert all(torch.equal(value, theirs.model[key]) for key, value in ours.model.items())
        assert all(torch.equal(value, theirs.average[key]) for key, value in ours.average.items())
        assert ours.num_averaged == theirs.num_averaged
    assert (run_dir / "journal.jsonl").read_bytes() == (whole[0] / "journal.jsonl").read_bytes()


def test_an_epochs_end_between_stages_resumes_exactly(
    store: Path, whole: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    def stop(event: object) -> None:
        if isinstance(event, EpochEvent) and event.epoch == 1:
            signal.raise_signal(signal.SIGINT)

    run_dir = tmp_path / "run"
    train.train_run(store, run_dir, parse(SETTINGS), ONE_THREAD, on_event=stop)
    assert (load_checkpoint(run_dir / "last.pt").epoch, load_checkpoint(run_dir / "last.pt").step) == (1, 0)
    train.train_run(store, run_dir, parse(SETTINGS), ONE_THREAD, resume=True)
    assert (run_dir / "journal.jsonl").read_bytes() == (whole[0] / "journal.jsonl").read_bytes()


def test_a_network_of_one_size_refuses_stages_of_others(store: Path, tmp_path: Path) -> None:
    fixed = SETTINGS | {"model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"}}
    with pytest.raises(ConfigError, match="stages: 'baseline_cnn' does not take inputs of 32 pixels"):
        train.train_run(store, tmp_path / "run", parse(fixed), ONE_THREAD)
    assert not (tmp_path / "run").exists()


def plain(**changes: Any) -> Config:
    values = {
        "data": {"image_size_px": 32, "batch_size": 16},
        "model": {"name": "test_resnet", "pretrained": False, "trainable": "all"},
        "schedule": {"kind": "constant"},
        "train": {"epochs": 2},
    }
    return parse(values | changes)


def test_a_loss_that_is_not_finite_ends_the_run_with_its_batch(store: Path, tmp_path: Path) -> None:
    run_dir, diverging = tmp_path / "run", plain(optim={"lr_head": 1e30, "lr_trunk": 1e30})
    with pytest.raises(
        FastpathError, match=r"epoch 1, step \d: found a training loss of .*; its batch is in"
    ) as caught:
        train.train_run(store, run_dir, diverging, ONE_THREAD)
    failure = json.loads((run_dir / "failure.json").read_text())
    assert failure["show"] in str(caught.value)
    assert json.loads((run_dir / "run.json").read_text())["status"] == "failed"
    assert not (run_dir / "last.pt").exists()  # nothing spoilt is saved
    # What is recorded names the very batch, and the settings written beside it make it again.
    settings = configuration.load(run_dir / "failure.toml")
    assert settings == diverging
    data = open_run_data(store, settings)
    loader = train_loader(data.train, settings, ONE_THREAD)
    batch = next(iter(loader.epoch(failure["epoch"], failure["step"])))
    loader.close()
    assert batch.indices_N.tolist() == [sample["row"] for sample in failure["samples"]]
    assert [sample["position"] for sample in failure["samples"]] == list(
        range(failure["step"] * 16, failure["step"] * 16 + 16)
    )
    assert all(len(sample["augmentation"]["crop_N4"]) == 4 for sample in failure["samples"])


def test_a_run_that_dies_says_of_what(store: Path, tmp_path: Path) -> None:
    def fail(event: object) -> None:
        if isinstance(event, StepEvent):
            raise MemoryError("no room")

    with pytest.raises(MemoryError):
        train.train_run(store, tmp_path / "run", plain(), ONE_THREAD, on_event=fail)
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (document["status"], document["error"]) == ("failed", "MemoryError: no room")
    assert train.train_run(store, tmp_path / "run", plain(), ONE_THREAD, resume=True).status == "finished"
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["status"] == "finished"
    assert "error" not in document


def test_a_final_network_may_take_the_validation_patches_too(store: Path) -> None:
    apart, together = open_run_data(store, plain()), open_run_data(store, plain(train={"include_val": True}))
    assert np.array_equal(together.train_rows_N, np.sort([*apart.train_rows_N, *apart.val_rows_N]))
    assert np.array_equal(together.val_rows_N, apart.val_rows_N)
    assert together.fingerprint != apart.fingerprint


def test_statistics_are_taken_anew_once_and_a_resumed_run_keeps_them(store: Path, tmp_path: Path) -> None:
    settings = {
        **SETTINGS,
        "model": {"name": "test_resnet", "pretrained": False, "trainable": "head", "batchnorm": "folded"},
        "train": {"epochs": 2},
        "stages": [],
    }
    models = {}
    for count in (0, 1, 4):
        config = parse({**settings, "model": {**settings["model"], "recalibrate": count}})
        train.train_run(store, tmp_path / str(count), config, ONE_THREAD)
        models[count] = load_checkpoint(tmp_path / str(count) / "last.pt").model
    train.train_run(store, tmp_path / "stopped", config, ONE_THREAD, on_event=stop_after(3))
    train.train_run(store, tmp_path / "stopped", config, ONE_THREAD, resume=True)
    resumed = load_checkpoint(tmp_path / "stopped" / "last.pt").model
    assert all(torch.equal(value, resumed[key]) for key, value in models[4].items())
    means = {
        count: next(value for key, value in model.items() if "running_mean" in key) for count, model in models.items()
    }
    assert torch.count_nonzero(means[0]) == 0  # as the fresh network has them
    data = open_run_data(store, config)
    with closing(train_loader(data.train, config, ONE_THREAD)) as loader:
        batches = [batch.images_NCHW.clone() for batch in loader.epoch(0)]
    first = build(config.model, 48)
    first.load_state_dict(models[4])
    convolution = next(module for module in first.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.no_grad():
        wanted = torch.stack([convolution(images).mean((0, 2, 3)) for images in batches])
    torch.testing.assert_close(means[1], wanted[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(means[4], wanted.mean(0), atol=1e-5, rtol=1e-4)


def test_a_last_step_of_one_patch_is_refused_where_batch_norm_would_have_no_variance(
    store: Path, tmp_path: Path
) -> None:
    def settings(batch_size: int, **model: str) -> Config:
        changes = {"image_size_px": 16, "batch_size": batch_size, "limit": 17}
        return plain(data=changes, model={"name": "test_resnet", "pretrained": False, "trainable": "all"} | model)

    with pytest.raises(ConfigError, match=r"data.batch_size: found 1 patch at once in an epoch's last step"):
        train.train_run(store, tmp_path / "run", settings(16), ONE_THREAD)
    assert not (tmp_path / "run").exists()
    assert train.train_run(store, tmp_path / "run", settings(15), ONE_THREAD).status == "finished"


@pytest.mark.parametrize(
    ("num_train", "batch_size", "accumulate", "world_size", "least"),
    [(17, 16, 1, 1, 1), (18, 16, 1, 1, 2), (32, 16, 4, 1, 4), (18, 16, 2, 1, 1), (17, 16, 1, 2, 1), (36, 16, 1, 2, 2)],
)
def test_the_fewest_patches_at_once_are_those_of_the_shortest_part(
    num_train: int, batch_size: int, accumulate: int, world_size: int, least: int
) -> None:
    config = plain(data={"batch_size": batch_size}, train={"accumulate": accumulate})
    assert train_stages._least_part(num_train, config, world_size) == least
