"""The page that comes with a mined table: who is on it, in what order, with which words and pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastpath.config import parse
from fastpath.errors import UsageError
from fastpath.runs import mined_table, out_of_fold
from fastpath.runs.mined_table import REVIEWED_WEIGHTS, WEIGHTS, Decision, MinedKind
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.workflows import pack
from fastpath.workflows.mine import mine, review
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
def run_dir(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review")
    pack.pack_source(kaggle_folder, folder / "store", workers=1)
    train.train_run(folder / "store", folder / "run", CONFIG, resolve("cpu"))
    return folder / "run"


@pytest.fixture(scope="module")
def predictions(run_dir: Path) -> Path:
    store = open_store(run_dir.parent / "store")
    rows_N = np.arange(len(store))
    logits_N = np.where(store.labels_N == 1, 3.0, -3.0) + np.linspace(-0.5, 0.5, len(rows_N))
    logits_N[::9] *= -1
    path = run_dir.parent / "out_of_fold.parquet"
    out_of_fold.write(path, store, rows_N, logits_N, rows_N % 3, history="held out")
    return path


def mined(run_dir: Path, output: Path, predictions: Path | None = None, **options: Any) -> mine.MineResult:
    chosen = mine.MineOptions(**options)
    return mine.mine_patches(run_dir, output, resolve("cpu"), predictions=predictions, options=chosen)


def scene_of(page: Path) -> dict[str, Any]:
    match = re.search(r"const scene = (\{.*\});\n", page.read_text(encoding="utf-8"))
    assert match is not None
    scene: dict[str, Any] = json.loads(match[1])
    return scene


def test_every_mined_patch_is_on_the_page_with_its_very_pixels(
    run_dir: Path, predictions: Path, tmp_path: Path
) -> None:
    result = mined(run_dir, tmp_path / "mined.parquet", predictions, hard_share=0.2)
    assert result.review == tmp_path / "mined-review" / "review.html"
    scene, store = scene_of(result.review), open_store(run_dir.parent / "store")
    frame = mined_table.read(result.table).frame
    assert sorted(patch["row"] for patch in scene["patches"]) == list(range(len(frame)))
    row_of = {name: row for row, name in enumerate(store.ids_N)}
    for patch in scene["patches"]:
        mined_row = frame.iloc[patch["row"]]
        assert (patch["id"], patch["kind"], patch["label"]) == (mined_row["id"], mined_row["kind"], mined_row["label"])
        assert patch["slide"] == store.groups_N[row_of[mined_row["id"]]]  # type: ignore[index]
        with Image.open(result.review.parent / patch["picture"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture), store.gather(np.array([row_of[mined_row["id"]]]))[0])
        with Image.open(result.review.parent / patch["strip"]) as strip:
            assert strip.size == (96 * len(patch["similar"]), 96)
        assert all(near["label"] == store.labels_N[row_of[near["id"]]] for near in patch["similar"])
    assert len({path.name for path in (result.review.parent / "pictures").iterdir()}) == 2 * len(frame)


def test_whose_probability_it_is_and_why_is_told(run_dir: Path, predictions: Path, tmp_path: Path) -> None:
    fold_of = pd.read_parquet(predictions).set_index("id")["fold"]
    for patch in scene_of(mined(run_dir, tmp_path / "a.csv", predictions, hard_share=0.1).review)["patches"]:
        assert patch["source"] == f"the network of fold {fold_of[patch['id']]}, which did not see this patch"
        words = {"label_error": "confident learning", "hard_negative": "the 10% of normal", "hard_positive": "tumour"}
        assert words[patch["kind"]] in patch["reason"]
    patches = scene_of(mined(run_dir, tmp_path / "b.csv", errors=2).review)["patches"]
    assert all("was trained on this very patch" in patch["source"] for patch in patches)
    assert "(--errors)" in patches[0]["reason"]


def test_the_surest_errors_come_first_and_no_more_than_a_person_can_look_at() -> None:
    kinds = ["hard_negative", "pseudo_label", "label_error", "hard_positive", "label_error"]
    frame = pd.DataFrame({"kind": kinds, "loss": [1.0, 0.1, 2.0, 1.5, 3.0]})
    assert review.chosen(frame).tolist() == [4, 2, 3, 0, 1]
    assert review.chosen(frame, most=3).tolist() == [4, 2, 3]


def test_mining_again_leaves_no_picture_of_before(run_dir: Path, predictions: Path, tmp_path: Path) -> None:
    mined(run_dir, tmp_path / "mined.csv", predictions, hard_share=0.3)
    pictures = tmp_path / "mined-review" / "pictures"
    before = len(list(pictures.iterdir()))
    (pictures / "notes.txt").write_text("of somebody")
    again = mined(run_dir, tmp_path / "mined.csv", predictions, hard_share=0.05)
    assert 2 * again.num_rows == len(list(pictures.iterdir())) - 1 < before
    assert (pictures / "notes.txt").read_text() == "of somebody"


def test_nothing_mined_is_a_page_that_says_so(run_dir: Path, tmp_path: Path) -> None:
    result = mined(run_dir, tmp_path / "none.csv", hard_share=0.0, errors=0)
    assert result.num_rows == 0
    assert "Nothing was mined" in result.review.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_is_refused_before_any_work(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mined-review").write_text("a file")
    with pytest.raises(UsageError, match="found a file, wanted a directory"):
        mined(run_dir, tmp_path / "mined.csv")
    assert not (tmp_path / "mined.csv").exists()


def test_what_is_decided_is_trained_on_unless_it_is_dropped() -> None:
    for kind in MinedKind:
        weights = REVIEWED_WEIGHTS[kind]
        assert (weights[Decision.FLIP], weights[Decision.DROP]) == (1.0, 0.0)
        assert weights[Decision.KEEP] == max(WEIGHTS[kind], 1.0)
