"""The whole way on synthetic patches of which some labels are wrong: folds, mining, training again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastpath import config
from fastpath.config import Config
from fastpath.ingest.split import write_split
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.mine import mine
from fastpath.workflows.train import folds

pytestmark = [pytest.mark.dali, pytest.mark.slow]

NUM_PATCHES, FLIPPED_SHARE = 1500, 0.1


def recipe(*changes: str) -> Config:
    return config.load(config.recipe("demo"), changes)


def flip(folder: Path, share: float, seed: int) -> set[str]:
    """Exchange the labels of a share of the training patches; returns their ids."""
    path = folder / "train_labels.csv"
    with path.open(encoding="utf-8") as file:
        labels = {row["id"]: int(row["label"]) for row in csv.DictReader(file)}
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(sorted(labels), round(share * len(labels)), replace=False).tolist())
    rows = [f"{name},{1 - label if name in chosen else label}" for name, label in labels.items()]
    path.write_text("\n".join(["id,label", *rows]) + "\n")
    return chosen


def test_mining_finds_labels_that_were_flipped(tmp_path: Path) -> None:
    write_kaggle_folder(tmp_path / "source", num_train=NUM_PATCHES, num_test=0, num_slides=10, seed=11)
    flipped = flip(tmp_path / "source", FLIPPED_SHARE, seed=5)
    pack.pack_source(tmp_path / "source", tmp_path / "store")
    store = open_store(tmp_path / "store")
    write_split(store, "group", folds=3)
    # Wrong labels cost epochs: with half as many, the networks know too little to contradict them.
    folds.train_folds(tmp_path / "store", tmp_path / "folds", recipe("train.epochs=8"), resolve("cpu"), 3)
    wrong = flipped & set(store.ids_N[read_split(store).rows(Split.TRAIN)])

    mine.mine_patches(
        tmp_path / "folds", tmp_path / "twice.csv", resolve("cpu"), options=mine.MineOptions(errors=2 * len(wrong))
    )
    frame = pd.read_csv(tmp_path / "twice.csv")
    listed = set(frame[frame["kind"] == "label_error"]["id"])
    assert len(listed) == 2 * len(wrong)
    assert len(listed & wrong) >= 0.8 * len(wrong)

    mined = mine.mine_patches(tmp_path / "folds", tmp_path / "own.csv", resolve("cpu"))
    frame = pd.read_csv(tmp_path / "own.csv")
    suspected = set(frame[frame["kind"] == "label_error"]["id"])
    assert len(suspected) <= 2 * len(wrong)
    assert len(suspected & wrong) >= 0.8 * len(wrong)
    assert mined.estimated_errors == pytest.approx(len(wrong), rel=0.3)
