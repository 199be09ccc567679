"""On a card, `train.deterministic`: two runs are equal bit for bit, and one that was cut short ends as they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fastpath import runtime
from fastpath.config import Config, parse
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.engine.loop import StepEvent
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.gpu, pytest.mark.dali]


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deterministic") / "store"
    pack.pack_source(kaggle_folder, path)
    return path


def settings(**trained: Any) -> Config:
    return parse(
        {
            "data": {"image_size_px": 96, "batch_size": 16},
            "model": {"name": "resnet18", "pretrained": False, **trained},
            "train": {"epochs": 2, "checkpoint_minutes": 1e-6, "deterministic": True, "ema_decay": 0.9},
        }
    )


class Stopped(Exception):
    """Ends a run between two steps, as a power cut does."""


def outcome(run_dir: Path) -> tuple[bytes, dict[str, torch.Tensor]]:
    return (run_dir / "journal.jsonl").read_bytes(), dict(load_checkpoint(run_dir / "last.pt").model)


@pytest.mark.parametrize(
    "trained",
    [
        pytest.param({"trainable": "layer4"}, id="layer4"),
        pytest.param({"trainable": "layer4", "batchnorm": "folded"}, id="folded"),
        pytest.param({"trainable": "all"}, id="all"),
    ],
)
def test_runs_are_equal_and_a_cut_one_ends_alike(
    store: Path, cuda: runtime.Runtime, tmp_path: Path, trained: dict[str, str]
) -> None:
    config = settings(**trained)
    for name in ("first", "second"):
        train.train_run(store, tmp_path / name, config, cuda)
    num_steps_seen = 0

    def listen(event: object) -> None:
        nonlocal num_steps_seen
        num_steps_seen += isinstance(event, StepEvent)
        if num_steps_seen == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train.train_run(store, tmp_path / "cut", config, cuda, on_event=listen)
    train.train_run(store, tmp_path / "cut", config, cuda, resume=True)
    journal, model = outcome(tmp_path / "first")
    for name in ("second", "cut"):
        found_journal, found_model = outcome(tmp_path / name)
        assert found_journal == journal, name
        assert all(torch.equal(value, found_model[key]) for key, value in model.items()), name
