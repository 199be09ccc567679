"""Weights alone: timm loads the folder and computes what the run does, from pixels on; both come back as weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from timm.data import create_transform, resolve_model_data_config

from fastpath.cli.main import app
from fastpath.config import Config, ModelConfig, parse
from fastpath.errors import ConfigError, IntegrityError, UsageError
from fastpath.model import weights
from fastpath.model.registry import build
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import resolve
from fastpath.store.format import hash_file
from fastpath.store.reader import open_store
from fastpath.workflows import pack
from fastpath.workflows.export import timm_folder
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

NETWORKS = {"test_resnet": 64, "test_vit": 96, "baseline_cnn": 16}
"""One that takes any input, one whose input is fixed (timm's own is 160 px), and one that is not timm's."""


def settings(name: str) -> Config:
    return parse(
        {
            "data": {"image_size_px": NETWORKS[name], "batch_size": 16, "sampling": "natural"},
            "model": {"name": name, "pretrained": False, "trainable": "all"},
            "train": {"epochs": 1},
        }
    )


@pytest.fixture(scope="module")
def place(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    pack.pack_source(kaggle_folder, folder / "store", workers=1)
    for name in NETWORKS:
        train.train_run(folder / "store", folder / name, settings(name), resolve("cpu"))
    return folder


def export(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments), "--json"])


def exported(*arguments: object) -> dict[str, object]:
    outcome = export(*arguments)
    assert outcome.exit_code == 0, outcome.exception
    document: dict[str, object] = json.loads(outcome.stdout)
    return document


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_timm_loads_the_folder_and_scores_pictures_as_the_run_does(place: Path, tmp_path: Path, name: str) -> None:
    document = exported(place / name, "-o", tmp_path / "model", "--format", "timm")
    assert document["max_difference"] < 1e-4  # type: ignore[operator]
    assert document["num_checked"] == 96
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        *("config.json", "model.safetensors", "README.md", "card.json")
    }
    model = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(model))
    store, rows_N = open_store(place / "store"), np.arange(12)
    images = torch.stack([transform(Image.fromarray(patch)) for patch in store.gather(rows_N)])
    assert images.shape[-1] == NETWORKS[name]
    with torch.no_grad():
        logits_N = model(images)[:, 0].numpy()
    wanted_N = score(open_run(place / name), store, rows_N, resolve("cpu"))
    # Pillow resizes whole numbers, and rounds: up to half a level of 255 a pixel.
    np.testing.assert_allclose(logits_N, wanted_N, atol=0.02 * max(1.0, float(np.ptp(wanted_N))))
    own = open_run(place / name).network().trunk.state_dict()
    assert own.keys() == model.state_dict().keys()
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())


def test_another_number_of_classes_starts_from_the_run_as_from_any_of_timms(place: Path, tmp_path: Path) -> None:
    exported(place / "test_resnet", "-o", tmp_path / "model", "--format", "timm", "--check", 0)
    model = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=5)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    own = open_run(place / "test_resnet").network().trunk
    assert torch.equal(next(model.parameters()), next(own.parameters()))


def test_the_folder_says_what_it_is(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "test_resnet", run)
    kept = {"method": "platt", "slope": 0.5, "intercept": -0.25, "kept": True, "tta": "none"}
    (run / "calibration.json").write_text(json.dumps(kept | {"weights": hash_file(run / "best.pt")}))
    document = exported(run, "-o", tmp_path / "model", "--format", "timm", "--store", place / "store")
    assert document["calibration"] == "none"  # the logits are the network's own
    values = json.loads((tmp_path / "model" / "config.json").read_text())
    trained = open_run(run)
    assert values["pretrained_cfg"]["mean"] == list(trained.stats.mean_3)
    assert values["label_names"] == [trained.checkpoint.classes[1]]
    own = values["fastpath"]
    assert (own["calibration"]["slope"], own["calibration"]["intercept"]) == (0.5, -0.25)
    page = (tmp_path / "model" / "README.md").read_text()
    assert page.startswith("---\nlibrary_name: timm\n")
    assert "probability = sigmoid(0.5 * logit + -0.25)" in page
    assert "base_model" not in page  # it started from random weights
    assert "Intended use: Research only" in page
    assert json.loads((tmp_path / "model" / "card.json").read_text())["artefact"]["kind"] == "timm"
    exported(run, "-o", tmp_path / "model", "--format", "timm", "--check", 0, "--raw")  # an earlier one makes way
    assert json.loads((tmp_path / "model" / "config.json").read_text())["fastpath"]["calibration"]["method"] == "none"


@pytest.mark.parametrize("name", ["test_resnet", "baseline_cnn"])
def test_a_file_of_weights_is_small_names_its_network_and_is_accepted_as_weights(
    place: Path, tmp_path: Path, name: str
) -> None:
    document = exported(place / name, "-o", tmp_path / "model.safetensors")
    assert document["max_difference"] < 1e-4  # type: ignore[operator]
    trained = open_run(place / name)
    own = trained.network().trunk.state_dict()
    size = sum(value.numel() * value.element_size() for value in own.values())
    assert size < document["size_bytes"] < size + 20_000  # type: ignore[operator]
    assert document["size_bytes"] < (place / name / "best.pt").stat().st_size / 2  # type: ignore[operator]
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["architecture"]) == ("pt", name)
    assert json.loads(metadata["classes"]) == list(trained.checkpoint.classes)
    config = ModelConfig(name=name, weights=tmp_path / "model.safetensors", trainable="all")
    started = build(config, NETWORKS[name])
    assert all(torch.equal(value, own[key]) for key, value in started.trunk.state_dict().items())


@pytest.mark.parametrize(
    ("run", "output", "more", "message"),
    [
        ("baseline_cnn", "model", ["--format", "timm"], "is of baseline_cnn, which timm does not know"),
        ("test_resnet", "model", ["--format", "timm", "--tta", "d4"], "'timm' holds weights, and no views"),
        ("test_resnet", "m.safetensors", ["--tta", "d4"], "'safetensors' holds weights, and no views"),
        ("test_resnet", "m.onnx", ["--format", "timm"], "found 'm.onnx' and --format timm, which disagree"),
        ("test_resnet", "model", [], "or --format timm for a folder"),
        ("test_resnet", "project", ["--format", "timm"], "found a directory with other files in it"),
    ],
)
def test_what_weights_cannot_hold_or_would_overwrite_is_refused(
    place: Path, tmp_path: Path, run: str, output: str, more: list[str], message: str
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("a project's own")
    outcome = export(place / run, "-o", tmp_path / output, *more)
    assert isinstance(outcome.exception, UsageError)
    assert message in str(outcome.exception)
    assert [path.name for path in tmp_path.rglob("*")] == ["project", "README.md"]
    assert (tmp_path / "project" / "README.md").read_text() == "a project's own"


def test_a_folder_of_which_timm_makes_another_network_is_not_kept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = timm_folder.config

    def other(*arguments: object) -> dict[str, object]:
        return config(*arguments) | {"model_args": {"act_layer": "tanh"}}  # type: ignore[arg-type]

    monkeypatch.setattr(timm_folder, "config", other)
    outcome = export(place / "test_resnet", "-o", tmp_path / "model", "--format", "timm")
    assert isinstance(outcome.exception, IntegrityError)
    assert not (tmp_path / "model").exists()


def test_more_bytes_than_a_network_can_need_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_SPARE_BYTES", 0)
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(ConfigError, match="has 4,096 MiB, wanted at most"):
        build(ModelConfig(name="test_resnet", weights=tmp_path / "large.safetensors", trainable="all"), 32)
