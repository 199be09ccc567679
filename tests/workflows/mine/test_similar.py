"""Which patches are called similar: training patches, the likest first, never the patch itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fastpath.config import parse
from fastpath.ingest.split import write_split
from fastpath.runs import inference
from fastpath.runs.trained import TrainedRun, open_run
from fastpath.runtime import resolve
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.mine import similar
from fastpath.workflows.mine.mined_rows import Catalogue
from fastpath.workflows.train import train

pytestmark = [pytest.mark.dali, pytest.mark.usefixtures("one_thread")]

CONFIG = parse(
    {
        "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
        "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
        "train": {"epochs": 1},
    }
)


@pytest.fixture(scope="module")
def trained(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("similar")
    pack.pack_source(kaggle_folder, folder / "store", workers=1)
    write_split(open_store(folder / "store"), "random")
    train.train_run(folder / "store", folder / "run", CONFIG, resolve("cpu"))
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def store(trained: TrainedRun) -> Store:
    return trained.open_store()


@pytest.fixture(scope="module")
def renamed(kaggle_folder: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of a training patch under another name, and of some that are new."""
    folder = tmp_path_factory.mktemp("renamed")
    shutil.copytree(kaggle_folder / "test", folder / "source")
    name = store.ids_N[read_split(store).rows(Split.TRAIN)[7]]
    shutil.copy(kaggle_folder / "train" / f"{name}.tif", folder / "source" / "0-copy.tif")
    pack.pack_source(folder / "source", folder / "store", workers=1)
    return open_store(folder / "store")


def test_neighbours_are_the_nearest_training_patches(trained: TrainedRun, store: Store) -> None:
    train_N = read_split(store).rows(Split.TRAIN)
    catalogue, asked_S = Catalogue.of([store, store]), train_N[[0, 3, 9]]
    rows, similarities = similar.similar_rows(catalogue, asked_S, train_N, trained, resolve("cpu"))
    features_ND = inference.trunk_features(trained, store, np.arange(len(store)), resolve("cpu"))
    unit_ND = features_ND / np.linalg.norm(features_ND, axis=1, keepdims=True)
    for row, near_K, similarity_K in zip(asked_S, rows, similarities, strict=True):
        cosine_N = unit_ND[train_N] @ unit_ND[row]
        cosine_N[train_N == row] = -np.inf
        best_N = np.argsort(-cosine_N)[: similar.SIMILAR]
        assert near_K.tolist() == train_N[best_N].tolist()
        np.testing.assert_allclose(similarity_K, cosine_N[best_N], atol=1e-4)


def test_the_same_pixels_are_found_beyond_the_draw_and_in_another_store(
    trained: TrainedRun, store: Store, renamed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "POOL_MAX", 2)
    train_N = read_split(store).rows(Split.TRAIN)
    catalogue = Catalogue.of([store, renamed])
    asked_S = len(store) + np.flatnonzero(renamed.ids_N == "0-copy")
    rows, similarities = similar.similar_rows(catalogue, asked_S, train_N, trained, resolve("cpu"))
    assert len(rows[0]) in (2, 3)  # the two that were drawn, and the same picture where it is none of them
    assert (rows[0][0], similarities[0][0]) == (train_N[7], pytest.approx(1, abs=1e-4))
    neighbours = similar.about(catalogue, int(asked_S[0]), rows[0], similarities[0])
    assert [each.same_pixels for each in neighbours] == [True, *[False] * (len(neighbours) - 1)]
    assert (neighbours[0].label, neighbours[0].same_slide) == (int(store.labels_N[train_N[7]]), None)
    assert set(rows[0]) <= set(train_N)


def test_slides_are_compared_where_they_are_known(store: Store) -> None:
    catalogue, slides_N = Catalogue.of([store]), store.groups_N
    assert slides_N is not None
    others_K = np.array([np.flatnonzero(slides_N == slides_N[0])[1], np.flatnonzero(slides_N != slides_N[0])[0]])
    neighbours = similar.about(catalogue, 0, others_K, np.array([0.9, 0.8], np.float32))
    assert [each.same_slide for each in neighbours] == [True, False]


def test_nothing_asked_is_nothing_found(trained: TrainedRun, store: Store) -> None:
    nothing = np.empty(0, np.int64)
    assert similar.similar_rows(Catalogue.of([store]), nothing, nothing, trained, resolve("cpu")) == ([], [])
