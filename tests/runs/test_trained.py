"""A checkpoint that is damaged, ill-meant or of another run is one line to all who score with it, and runs nothing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch

from fastpath.config import Config, parse
from fastpath.engine.checkpoint import Checkpoint, save_checkpoint
from fastpath.errors import FastpathError
from fastpath.model.registry import build
from fastpath.runs.trained import open_run

CONFIG = parse(
    {
        "data": {"image_size_px": 16},
        "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    }
)


def sound(config: dict[str, Any] | None = None, **changes: Any) -> Checkpoint:
    values: dict[str, Any] = {
        "config": config or CONFIG.to_dict(),
        **{"store_fingerprint": "aa", "split_fingerprint": "bb", "patch_size_px": 96, "classes": ("a", "b")},
        **{"mean_3": (0.5,) * 3, "std_3": (0.2,) * 3, "software": {"fastpath": "1"}},
        **{"epoch": 1, "step": 0, "best_auc": 0.5, "best_epoch": 1, "epochs_since_best": 0, "num_seen": 0},
        **{"loss_sum": torch.zeros((), dtype=torch.float64), "optimizer": {}, "schedule": {}, "scaler": {}},
        "model": build(CONFIG.model, 16).state_dict(),
    }
    return Checkpoint(**values | changes)


def of_config(**changes: Any) -> dict[str, Any]:
    values = Config.to_dict(CONFIG)
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, dict) and key in values else value
    return values


def test_a_sound_one_is_a_network(tmp_path: Path) -> None:
    save_checkpoint(sound(), tmp_path / "best.pt")
    assert not open_run(tmp_path / "best.pt").network().training


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (of_config(more=1), r"unknown key 'more'"),
        (of_config(data=5), r"data: found 5"),
        (of_config(data={"image_size_px": 10**9}), r"data.image_size_px: found 1000000000"),
        (
            of_config(data={"image_size_px": 32}),
            r"of another shape \(trunk.hidden.2.weight: found \(256, 512\), wanted",
        ),
        (of_config(model={"name": "hf-hub:somebody/else"}), r"timm cannot make 'hf-hub:somebody/else'"),
        (of_config(model={"name": "resnet10t"}), r"the weights do not fit the network"),
        (of_config(model={"trainable": "layer9"}), r"model.trainable: found 'layer9'"),
    ],
)
def test_a_foreign_configuration(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_checkpoint(sound(config), tmp_path / "best.pt")
    with pytest.raises(FastpathError, match=message) as refused:
        open_run(tmp_path / "best.pt").network()
    assert len(str(refused.value).splitlines()) == 1


def shorn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def poisoned(path: Path) -> None:
    """Put code in the place of a value."""
    made = sound()
    values = {field.name: getattr(made, field.name) for field in fields(made)}
    payload = values | {"format": "fastpath-checkpoint", "version": 2, "software": Mark(path.with_name("mark"))}
    torch.save(payload, path)


def with_nan(path: Path) -> None:
    made = sound()
    made.model["trunk.classifier.bias"].fill_(float("nan"))
    save_checkpoint(made, path)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(asdict(sound())))


class Mark:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("harm", [shorn, poisoned, with_nan, pickled])
def test_a_file_that_was_harmed(harm: Callable[[Path], None], tmp_path: Path) -> None:
    save_checkpoint(sound(), tmp_path / "best.pt")
    harm(tmp_path / "best.pt")
    with pytest.raises(FastpathError, match=r"best\.pt: ") as refused:
        open_run(tmp_path / "best.pt")
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "mark").exists()
