"""What training patches look like is kept with the run, and other tissue is told from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fastpath.ingest import tissue
from fastpath.runs import training_appearance
from fastpath.runs.trained import open_run
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split

pytestmark = [pytest.mark.e2e, pytest.mark.dali]


@dataclass(frozen=True)
class Tiles:
    """Patches in memory."""

    images_NHWC: np.ndarray

    @property
    def labels_N(self) -> np.ndarray:
        return np.full(len(self.images_NHWC), -1, np.int8)

    @property
    def patch_size_px(self) -> int:
        return int(self.images_NHWC.shape[1])

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        return np.asarray(self.images_NHWC[indices_N])


def _tissue(slide: int) -> np.ndarray:
    return tissue.paint_patches(np.zeros(60, np.int8), np.full(60, slide, np.int64), seed=42)


def _blurred(images: np.ndarray) -> np.ndarray:
    return np.asarray(gaussian_filter(images, (0, 3, 3, 0)))


@pytest.mark.parametrize(
    ("change", "finding", "phrase"),
    [
        (lambda images: images, "alike", "nothing says otherwise"),
        (lambda images: (images * 0.45).astype(np.uint8), "foreign", "darker"),
        (lambda images: images[..., ::-1].copy(), "foreign", "of a colour that is neither"),
        (_blurred, "foreign", "more blurred"),
        (lambda images: np.full_like(images, 244), "foreign", "less tissue"),
    ],
    ids=["as it is", "dark", "red for blue", "out of focus", "glass"],
)
def test_tissue_is_told_from_that_trained_on(
    learned: Path, change: Callable[[np.ndarray], np.ndarray], finding: str, phrase: str
) -> None:
    trained = open_run(learned)
    train = open_store(learned.parent / "store")
    assert train.groups_N is not None
    slide = int(str(train.groups_N[read_split(train).rows(Split.TRAIN)][0]).rsplit("_", 1)[-1])
    outside, verdict = training_appearance.appearance_verdict(trained, Tiles(change(_tissue(slide))))
    assert verdict.finding == finding, verdict
    assert phrase in verdict.text
    assert all(0 <= measure.below + measure.above <= 1 for measure in outside)


def test_what_is_kept_is_what_the_store_tells_and_an_older_run_asks_the_store(learned: Path, tmp_path: Path) -> None:
    kept = training_appearance.of_run(open_run(learned))
    store = open_store(learned.parent / "store")
    rows_N = read_split(store).rows(Split.TRAIN)
    assert kept is not None
    assert kept == training_appearance.look(store, rows_N, open_run(learned).config.seed)
    assert kept.num_patches == len(rows_N)
    brightness_N = store.mean_rgb_N3[rows_N] @ np.array([0.299, 0.587, 0.114])
    assert kept.ranges["brightness"][1] == pytest.approx(np.median(brightness_N), abs=0.01)
    for content in (None, "{", json.dumps({"num_patches": 3, "ranges": {"brightness": [1, None, 3]}})):
        shutil.copytree(learned, tmp_path / "run", dirs_exist_ok=True)
        (tmp_path / "run" / training_appearance.NAME).unlink()
        if content is not None:
            (tmp_path / "run" / training_appearance.NAME).write_text(content)
        assert training_appearance.of_run(open_run(tmp_path / "run")) == kept


def test_a_run_that_nothing_is_known_of_is_told(learned: Path, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes((learned / "best.pt").read_bytes())
    outside, verdict = training_appearance.appearance_verdict(open_run(tmp_path / "best.pt"), Tiles(_tissue(3)))
    assert (outside, verdict.finding, verdict.caution) == ([], "unknown", True)
