"""The audit finds copies planted across the split, by hash and by a network's features."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from fastpath.config import parse
from fastpath.errors import StoreError
from fastpath.ingest.split import write_split_from_csv
from fastpath.runs.inference import trunk_features
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import open_store
from fastpath.workflows import audit, pack
from fastpath.workflows.train import train

pytestmark = [pytest.mark.dali, pytest.mark.usefixtures("one_thread")]

ONE_THREAD = Runtime(torch.device("cpu"), num_threads=1)
CONFIG = parse(
    {
        "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
        "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
        "train": {"epochs": 1},
    }
)


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two validation patches are training patches: one as it is, one turned, darker and with another label."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "source" / "train").mkdir(parents=True)
    with (kaggle_folder / "train_labels.csv").open() as file:
        labels = {row["id"]: row["label"] for row in csv.DictReader(file)}
    part = {name: "val" if number % 5 == 0 else "train" for number, name in enumerate(labels)}
    for name in labels:
        (folder / "source" / "train" / f"{name}.tif").hardlink_to(kaggle_folder / "train" / f"{name}.tif")
    first, second = [name for name in labels if part[name] == "train"][:2]
    pixels = [tifffile.imread(kaggle_folder / "train" / f"{name}.tif") for name in (first, second)]
    copies = {"copy": pixels[0], "turned": np.ascontiguousarray(np.rot90(pixels[1])) // 2 + 40}
    for (name, image), of in zip(copies.items(), (first, second), strict=True):
        tifffile.imwrite(folder / "source" / "train" / f"{name}.tif", image, photometric="rgb")
        labels[name], part[name] = labels[of] if name == "copy" else str(1 - int(labels[of])), "val"
    for file, rows in (("source/train_labels.csv", labels), ("split.csv", part)):
        header = "id,label" if "labels" in file else "id,split"
        (folder / file).write_text("\n".join([header, *(",".join(row) for row in rows.items())]) + "\n")
    pack.pack_source(folder / "source", folder / "store", workers=1)
    write_split_from_csv(open_store(folder / "store"), folder / "split.csv")
    return folder / "store"


def test_an_exact_copy_is_found_by_hash(store: Path, tmp_path: Path) -> None:
    audited = audit.audit_split(store, tmp_path / "out", ONE_THREAD)
    rows = list(csv.DictReader((tmp_path / "out" / "neighbours.csv").read_text().splitlines()))
    assert len(rows) == audited.num_val == audited.num_val
    assert rows[0]["id"] == "copy"
    assert float(rows[0]["pixel_correlation"]) == pytest.approx(1, abs=1e-3)
    assert (audited.identical, audited.features, audited.same_slide) == (1, "perceptual hash", None)
    correlations = [float(row["pixel_correlation"]) for row in rows]
    assert correlations == sorted(correlations, reverse=True)
    assert (tmp_path / "out" / "neighbours.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["suspicious"] == audited.suspicious >= 1


def test_a_run_gives_its_features(store: Path, tmp_path: Path) -> None:
    train.train_run(store, tmp_path / "run", CONFIG, ONE_THREAD)
    trained, opened, rows_N = open_run(tmp_path / "run"), open_store(store), np.arange(20)
    features_ND = trunk_features(trained, opened, rows_N, ONE_THREAD)
    assert features_ND.shape == (20, 256)
    weights = trained.checkpoint.weights
    head = {name.rsplit(".", 1)[1]: value for name, value in weights.items() if "classifier" in name}
    logits_N = features_ND @ head["weight"].numpy()[0] + head["bias"].numpy()[0]
    np.testing.assert_allclose(logits_N, score(trained, opened, rows_N, ONE_THREAD), atol=1e-4)
    audited = audit.audit_split(store, tmp_path / "out", ONE_THREAD, run_dir=tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "out" / "neighbours.csv").read_text().splitlines()))
    assert rows[0]["id"] == "copy"
    assert audited.identical == 1
    assert audited.features.startswith("trunk of")


def test_no_split_is_one_line(kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder / "test", tmp_path / "store", workers=1)
    with pytest.raises(StoreError, match=r"found no split\.json"):
        audit.audit_split(tmp_path / "store", tmp_path / "out", ONE_THREAD)
    assert not (tmp_path / "out").exists()
