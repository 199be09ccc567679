"""`fastpath show` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fastpath.cli.main import app
from fastpath.config import Config, parse
from fastpath.data.augment import draw
from fastpath.data.loader import train_loader
from fastpath.errors import FastpathError, StoreError, UsageError
from fastpath.runs.run_data import open_run_data
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats
from fastpath.workflows import pack
from fastpath.workflows.show import show_samples

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

SETTINGS = ("--set", "data.image_size_px=64", "--set", "data.batch_size=16", "--seed", "5")
CONFIG = parse({"seed": 5, "data": {"image_size_px": 64, "batch_size": 16}})


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("show") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def _epoch(store: Path, epoch: int) -> tuple[np.ndarray, np.ndarray, ChannelStats]:
    """Every batch of an epoch, from its beginning: normalised images and their rows."""
    data = open_run_data(store, CONFIG)
    stats = ChannelStats(data.split.mean_3, data.split.std_3)
    with closing(train_loader(data.train, CONFIG, resolve("cpu"))) as loader:
        batches = [
            (batch.images_NCHW.numpy().transpose(0, 2, 3, 1).copy(), batch.indices_N.numpy().copy())
            for batch in loader.epoch(epoch)
        ]
    return np.concatenate([images for images, _ in batches]), np.concatenate([rows for _, rows in batches]), stats


def test_samples_are_those_of_the_training_loader_to_the_last_bit(store: Path, tmp_path: Path) -> None:
    """Positions 13 to 20 lie in two batches, and the loader starts at the first of these."""
    outcome = _invoke(store, "--epoch", 3, "--position", 13, "--count", 8, *SETTINGS, "-o", tmp_path, "--json")
    assert outcome.exit_code == 0, outcome.output
    report = json.loads((tmp_path / "show.json").read_text())
    assert json.loads(outcome.stdout)["shown"] == report["samples"]
    images_NHWC, rows_N, stats = _epoch(store, 3)
    opened = open_store(store)
    assert [sample["position"] for sample in report["samples"]] == list(range(13, 21))
    for sample in report["samples"]:
        position, row = sample["position"], int(rows_N[sample["position"]])
        assert (sample["row"], sample["id"]) == (row, opened.ids_N[row])
        expected = images_NHWC[position] * np.float32(stats.std_3) + np.float32(stats.mean_3)
        expected = np.clip(np.rint(expected * 255), 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(_pixels(tmp_path / sample["files"]["seen"]), expected)
        stored = _pixels(tmp_path / sample["files"]["stored"])
        np.testing.assert_array_equal(stored, opened.gather(np.array([row]))[0])
        assert sample["label"] == ("tumour" if opened.labels_N[row] else "normal")
        assert sample["part"] == "train"
    written = {name for sample in report["samples"] for name in sample["files"].values()}
    assert {path.name for path in tmp_path.iterdir()} == written | {"overview.png", "show.json", "run.log"}


def test_drawn_parameters_are_told(store: Path, tmp_path: Path) -> None:
    outcome = _invoke(store, "--epoch", 1, "--position", 4, *SETTINGS, "-o", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    [sample] = json.loads((tmp_path / "show.json").read_text())["samples"]
    drawn = draw.draw_augmentation(CONFIG.data.augment, 64, 5, 1, range(4, 5))
    augmentation = sample["augmentation"]
    assert augmentation["hflip"] is bool(drawn.hflip_N[0])
    assert augmentation["angle_deg"] == drawn.angle_deg_N[0]
    assert list(augmentation["crop"].values()) == drawn.crop_N4[0].tolist()
    assert augmentation["factors"]["hue"] == drawn.factors_N4[0, draw.HUE]
    assert sorted(augmentation["order"]) == ["brightness", "contrast", "hue", "saturation"]
    assert augmentation["order"][0] == ["brightness", "contrast", "saturation", "hue"][drawn.order_N4[0, 0]]
    assert f"position 4: {sample['id']}, {sample['label']}, row {sample['row']}" in outcome.stdout


def _plain(**changes: object) -> Config:
    nothing = {"hflip": 0.0, "rotation_deg": 0.0, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
    return parse({"data": {"image_size_px": 192, "augment": nothing | changes}})


@pytest.mark.parametrize(
    "config", [_plain(), _plain(hflip=1.0), _plain(vflip=1.0), _plain(hflip=1.0, quarter_turns=True)]
)
def test_the_centre_stays_where_nothing_moves_it(config: Config) -> None:
    drawn = draw.draw_augmentation(config.data.augment, 192, 0, 0, range(8))
    corners_N42 = show_samples.centre_corners(drawn, config, 96)
    np.testing.assert_allclose(corners_N42.min(axis=1), 64, atol=1e-3)
    np.testing.assert_allclose(corners_N42.max(axis=1), 128, atol=1e-3)


def test_a_crop_that_cuts_into_the_centre_is_told(store: Path, tmp_path: Path) -> None:
    tight = ("--set", "data.augment.crop_scale=[0.05, 0.05]")
    assert _invoke(store, "--epoch", 0, "--position", 0, "--count", 4, *tight, "-o", tmp_path).exit_code == 0
    report = json.loads((tmp_path / "show.json").read_text())
    assert not any(sample["centre_whole"] for sample in report["samples"])
    assert _invoke(store, "--epoch", 0, "--position", 0, "-o", tmp_path / "whole").exit_code == 0
    [sample] = json.loads((tmp_path / "whole" / "show.json").read_text())["samples"]
    assert sample["centre_whole"]


def test_patches_are_shown_by_name(store: Path, tmp_path: Path) -> None:
    opened = open_store(store)
    first, second = opened.ids_N[[7, 3]].tolist()
    outcome = _invoke(store, "--ids", first, second, "--ids", first, "-o", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    shown = json.loads((tmp_path / "show.json").read_text())["patches"]
    assert [facts["row"] for facts in shown] == [7, 3]
    for facts in shown:
        patch = opened.gather(np.array([facts["row"]]))[0]
        np.testing.assert_array_equal(_pixels(tmp_path / f"{facts['id']}.png"), patch)
        large = _pixels(tmp_path / f"{facts['id']}-4x.png")
        np.testing.assert_array_equal(large[130:254, 130:254], patch.repeat(4, 0).repeat(4, 1)[130:254, 130:254])
        assert (large[127, 130:254] == 255).all()
        np.testing.assert_allclose(facts["mean_rgb"], patch.mean(axis=(0, 1)), atol=1e-3)
        np.testing.assert_allclose(facts["std_rgb"], patch.std(axis=(0, 1)), atol=1e-3)
        assert facts["slide"] == opened.groups_N[facts["row"]]
        assert facts["part"] in {"train", "val"}
        assert facts["same_pixels"] == []
        shard = np.load(store / facts["shard"])
        np.testing.assert_array_equal(shard[facts["row_in_shard"]], patch)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--ids", "nobody", "nothing"), "found 2 of 2 ids that are not in the store, the first 'nobody'"),
        (("--epoch", "1"), "wanted either --ids, or --epoch and --position"),
        ((), "wanted either --ids, or --epoch and --position"),
        (("--ids", "a", "--epoch", "1", "--position", "1"), "wanted either --ids, or --epoch and --position"),
        (("stray",), "found 'stray' after the store"),
        (("--epoch", "0", "--position", "100000"), "--position: found 100000, wanted 0 to "),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    store: Path, tmp_path: Path, arguments: tuple[str, ...], wanted: str
) -> None:
    outcome = _invoke(store, *arguments, "-o", tmp_path / "out")
    assert isinstance(outcome.exception, UsageError)
    assert wanted in str(outcome.exception)
    assert not (tmp_path / "out").exists()


def test_an_unknown_id_is_one_line_and_exit_status_2(store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastpath", "show", str(store), "--ids", "nobody", "-o", str(tmp_path / "out")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith("fastpath: --ids: found 1 of 1 ids")
    assert refused.stderr.count("\n") == 1


def test_a_store_without_a_split_has_patches_but_no_epochs(kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder / "test", tmp_path / "store", workers=1)
    name = open_store(tmp_path / "store").ids_N[0]
    assert _invoke(tmp_path / "store", "--ids", name, "-o", tmp_path / "out").exit_code == 0
    [patch] = json.loads((tmp_path / "out" / "show.json").read_text())["patches"]
    assert (patch["label"], patch["part"], patch["slide"]) == ("unlabelled", None, None)
    refused = _invoke(tmp_path / "store", "--epoch", 0, "--position", 0, "-o", tmp_path / "none")
    assert isinstance(refused.exception, FastpathError)
    assert isinstance(refused.exception, StoreError)
