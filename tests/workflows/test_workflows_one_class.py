"""Where one class is missing: refused in one line before anything is trained or scored, or told as not defined."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastpath.config import Config
from fastpath.errors import DataError
from fastpath.ingest.split import write_split, write_split_from_csv
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.workflows import pack
from fastpath.workflows.compare import compare_tables
from fastpath.workflows.inspect import inspect
from fastpath.workflows.sweep import sweep, sweep_plan
from fastpath.workflows.train import folds, train

CPU = resolve("cpu", num_threads=1)
DIVISIONS = {"train": ("train", 0), "val": ("val", 1)}  # the part that has one class, and which


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("one-class")
    random = np.random.default_rng(0)
    for at in range(24):
        place = root / "source" / str(at % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(place / f"p{at:02}.png")
    pack.pack_source(root / "source", root / "store", workers=1)
    return root / "store"


def divide(store: Path, part: str, label: int, table: Path) -> None:
    """Give one part of the division patches of one label alone, and the other patches of both."""
    packed = open_store(store)
    own = [name for name, patch_label in zip(packed.ids_N, packed.labels_N, strict=True) if patch_label == label][:6]
    other = "val" if part == "train" else "train"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "split"))
        writer.writerows((name, part if name in own else other) for name in packed.ids_N)
    write_split_from_csv(packed, table)


@pytest.mark.parametrize("part", DIVISIONS)
def test_training_needs_both_classes_on_both_sides(store: Path, tmp_path: Path, part: str) -> None:
    label = DIVISIONS[part][1]
    divide(store, part, label, tmp_path / "split.csv")
    message = f"found 6 patches of label {label} alone in the {part} split, wanted both classes; divide it anew"
    with pytest.raises(DataError, match=message):
        train.train_run(store, tmp_path / "run", Config(), CPU)
    with pytest.raises(DataError, match=message):
        sweep.sweep_settings(store, tmp_path / "sweep", sweep_plan.make_plan(None, ["train.epochs=1,2"]), device="cpu")
    splits = [write_split(open_store(store), "random", folds=2), read_split(open_store(store))]
    divide(store, part, label, tmp_path / "split.csv")
    splits[1] = read_split(open_store(store))
    with pytest.raises(DataError, match=message):
        folds.train_all(open_store(store), tmp_path / "folds", Config(), CPU, splits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["split.csv"], "nothing is begun, no fold trained"


@pytest.mark.parametrize("label", [0, 1])
def test_comparing_needs_both_classes(tmp_path: Path, label: int) -> None:
    for name in ("a", "b"):
        pd.DataFrame({"id": ["x", "y"], "label": [label] * 2, "logit": [0.1, 0.2]}).to_csv(tmp_path / f"{name}.csv")
    with pytest.raises(DataError, match="of 2 patches, wanted all labelled, and both classes"):
        compare_tables.compare_tables([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


PARTS = {"test": ["test"], "all": ["train", "valid", "test"]}


@pytest.mark.parametrize(("parts", "labels"), [("all", "one"), ("test", "both")])
def test_patchcamelyon_is_inspected_by_part_and_as_a_whole(tmp_path: Path, parts: str, labels: str) -> None:
    h5py = pytest.importorskip("h5py")
    random = np.random.default_rng(0)
    (tmp_path / "source").mkdir()
    for part in PARTS[parts]:
        stem = tmp_path / "source" / f"camelyonpatch_level_2_split_{part}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = random.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.arange(12, dtype=np.uint8).reshape(-1, 1, 1, 1) % (2 if labels == "both" else 1)
    packed = pack.pack_source(tmp_path / "source", tmp_path / "store", workers=1)
    assert (packed.split == "official") == (parts == "all")
    inspection = inspect.inspect_store(tmp_path / "store", tmp_path / "inspection", per_class=4)
    assert inspection.patches == 12 * len(PARTS[parts])
    page = (tmp_path / "inspection" / "report.html").read_text()
    assert ("as PatchCamelyon is" in page) == (parts == "all")
