"""The synthetic set: reproducible, named by its pixels, and decided by the centre alone."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastpath.errors import DataError, UsageError
from fastpath.ingest import tissue
from fastpath.ingest.synth import write_kaggle_folder

Labelled = tuple[NDArray[np.uint8], NDArray[np.int8]]


@pytest.fixture(scope="module")
def labelled() -> Labelled:
    """768 patches of 8 slides."""
    rng = np.random.default_rng(0)
    labels_N = (rng.random(768) < 0.4).astype(np.int8)
    slides_N = rng.integers(0, 8, 768)
    chunks = [
        tissue.paint_patches(labels_N[i : i + 128], slides_N[i : i + 128], seed=11, chunk=i // 128)
        for i in range(0, 768, 128)
    ]
    return np.concatenate(chunks), labels_N


def _halves_auc(model: object, features_NF: NDArray[np.float64], labels_N: NDArray[np.int8]) -> float:
    half = len(labels_N) // 2
    model.fit(features_NF[:half], labels_N[:half])  # type: ignore[attr-defined]
    scores_N = model.predict_proba(features_NF[half:])[:, 1]  # type: ignore[attr-defined]
    return float(roc_auc_score(labels_N[half:], scores_N))


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_kaggle_folder(tmp_path / name, num_train=10, num_test=3, num_slides=2, seed=seed)
    first, second, third = (_files(tmp_path / name) for name in "abc")
    assert first == second
    assert not set(first) & set(third) - {"train_labels.csv", "groups.csv", "sample_submission.csv"}


def test_layout_is_the_kaggle_sets(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    folder = tmp_path / "deep" / "kaggle"
    write_kaggle_folder(
        folder, num_train=20, num_test=5, num_slides=4, seed=1, advance=lambda *call: calls.append(call)
    )
    labels = pd.read_csv(folder / "train_labels.csv")
    groups = pd.read_csv(folder / "groups.csv")
    sample = pd.read_csv(folder / "sample_submission.csv")
    assert list(labels) == ["id", "label"]
    assert list(groups) == ["id", "wsi"]
    assert list(sample) == ["id", "label"]
    assert labels.label.sum() == 8
    assert groups.id.tolist() == labels.id.tolist()
    assert groups.wsi.value_counts().tolist() == [5, 5, 5, 5]
    assert (sample.label == 0).all()
    assert {path.stem for path in (folder / "train").iterdir()} == set(labels.id)
    assert {path.stem for path in (folder / "test").iterdir()} == set(sample.id)
    assert calls[-1] == (25, 25)
    assert [path.name for path in folder.parent.iterdir()] == ["kaggle"]


def test_ids_are_the_sha1_of_the_pixels_and_pillow_reads_what_tifffile_reads(kaggle_folder: Path) -> None:
    for path in sorted((kaggle_folder / "train").iterdir())[:10]:
        pixels = tifffile.imread(path)
        assert pixels.shape == (96, 96, 3)
        assert pixels.dtype == np.uint8
        assert path.stem == hashlib.sha1(pixels.tobytes()).hexdigest()
        with Image.open(path) as image:
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), pixels)


def test_the_ring_is_the_same_whatever_the_label() -> None:
    slides_N = np.arange(64) % 4
    negative = tissue.paint_patches(np.zeros(64, np.int8), slides_N, seed=3)
    positive = tissue.paint_patches(np.ones(64, np.int8), slides_N, seed=3)
    differs_NHW = (negative != positive).any(3)
    assert differs_NHW[:, tissue.CENTRE, tissue.CENTRE].any((1, 2)).all()
    differs_NHW[:, tissue.CENTRE, tissue.CENTRE] = False
    assert not differs_NHW.any()


def test_colour_does_not_give_the_label_away(labelled: Labelled) -> None:
    patches, labels_N = labelled
    pixels = patches.reshape(len(patches), -1, 3).astype(np.float64)
    colour_N6 = np.concatenate([pixels.mean(1), pixels.std(1)], 1)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    assert 0.35 < _halves_auc(model, colour_N6, labels_N) < 0.65


def test_the_centre_gives_the_label_away(labelled: Labelled) -> None:
    patches, labels_N = labelled
    reds_NHW = patches[:, tissue.CENTRE, tissue.CENTRE, 0].astype(np.float64)
    # Nuclei are where red is absorbed; the largest window that is nearly all nucleus tells how large they are.
    nuclear_NHW = (reds_NHW < np.median(reds_NHW, axis=(1, 2), keepdims=True) - 30).astype(np.float64)
    fullest = [uniform_filter(nuclear_NHW, size=(1, side, side)).max((1, 2)) for side in (5, 7, 9, 11, 13)]
    model = HistGradientBoostingClassifier(max_iter=40, random_state=0)
    assert _halves_auc(model, np.stack([*fullest, nuclear_NHW.mean((1, 2))], 1), labels_N) > 0.9


def test_the_ring_tells_nothing_about_the_label(labelled: Labelled) -> None:
    patches, labels_N = labelled
    ring_HW = np.ones((96, 96), bool)
    ring_HW[tissue.CENTRE, tissue.CENTRE] = False
    histograms_NB = np.array([np.histogram(patch[ring_HW][:, 0], bins=16)[0] for patch in patches], np.float64)
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    assert 0.4 < _halves_auc(model, histograms_NB, labels_N) < 0.6  # standard error 0.03


def test_patches_vary_and_none_is_blank(labelled: Labelled) -> None:
    patches, _ = labelled
    assert patches[:, tissue.CENTRE, tissue.CENTRE].reshape(len(patches), -1).std(1).min() > 10
    means_N = patches.mean((1, 2, 3))
    assert means_N.std() > 8
    assert 90 < means_N.mean() < 220


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="already holds something"):
        write_kaggle_folder(tmp_path, num_train=2, num_test=0)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_nothing_is_left_of_an_interrupted_run(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_kaggle_folder(tmp_path / "kaggle", num_train=4, num_test=0, advance=stop)
    assert list(tmp_path.iterdir()) == []


def test_counts_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wanted at least 1"):
        write_kaggle_folder(tmp_path / "kaggle", num_train=0, num_test=0)


def test_what_killed_runs_left_is_cleared_and_nothing_of_anybody_elses(tmp_path: Path) -> None:
    left, held = (tmp_path / f".out.{digit * 16}.tmp" for digit in "ab")
    others = [tmp_path / ".out.partial", tmp_path / "out.partial", tmp_path / ".out.tmp", held]
    for folder in (left, *others):
        folder.mkdir()
        (folder / "kept").write_text("x")
    lock = os.open(held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as by a run that is at work
    try:
        write_kaggle_folder(tmp_path / "out", num_train=2, num_test=0)
    finally:
        os.close(lock)
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "out", *others])
    assert all((folder / "kept").exists() for folder in others)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="out: cannot be written: something of that name exists"):
        write_kaggle_folder(tmp_path / "file" / "out", num_train=2, num_test=0)
