"""Mining on small synthetic stores: what is listed, on what evidence, and that training takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fastpath.config import Config, parse
from fastpath.engine.checkpoint import load_checkpoint
from fastpath.errors import CheckpointError, DataError, StoreError, UsageError
from fastpath.ingest.split import write_split
from fastpath.runs import calibration_file, mined_table, mined_training, out_of_fold
from fastpath.runs.run_data import open_run_data
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.mine import mine
from fastpath.workflows.train import train

pytestmark = [pytest.mark.dali, pytest.mark.usefixtures("one_thread")]

ONE_THREAD = Runtime(torch.device("cpu"), num_threads=1)
SETTINGS: dict[str, Any] = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "systematic"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "schedule": {"kind": "constant"},
    "train": {"epochs": 1},
}


def config(**data: Any) -> Config:
    return parse({**SETTINGS, "data": {**SETTINGS["data"], **data}})


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mine") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="module")
def unlabelled(kaggle_folder: Path, store: Path) -> Path:
    path = store.parent / "unlabelled"
    pack.pack_source(kaggle_folder / "test", path, workers=1)
    return path


@pytest.fixture(scope="module")
def run_dir(store: Path) -> Path:
    path = store.parent / "run"
    train.train_run(store, path, config(), ONE_THREAD)
    return path


@pytest.fixture(scope="module")
def predictions(store: Path) -> Path:
    """Out-of-fold predictions that are right about all but the first three training patches."""
    opened = open_store(store)
    rows_N = np.arange(len(opened))
    logits_N = np.where(opened.labels_N == 1, 3.0, -3.0) + np.linspace(-0.5, 0.5, len(rows_N))
    logits_N[read_split(opened).rows(Split.TRAIN)[:3]] *= -1
    out_of_fold.write(store.parent / "told.parquet", opened, rows_N, logits_N, rows_N % 3, history="held out")
    return store.parent / "told.parquet"


def test_hard_patches_are_the_training_patches_of_highest_loss(store: Path, run_dir: Path, tmp_path: Path) -> None:
    options = mine.MineOptions(hard_share=0.25, errors=0)
    progress_calls: list[tuple[int, int]] = []
    mined = mine.mine_patches(
        run_dir,
        tmp_path / "t.parquet",
        ONE_THREAD,
        options=options,
        advance=lambda *progress: progress_calls.append(progress),
    )
    frame = mined_table.read(tmp_path / "t.parquet").frame
    opened, rows_N = open_store(store), read_split(open_store(store)).rows(Split.TRAIN)
    logits_N = score(open_run(run_dir), opened, rows_N, ONE_THREAD)
    assert (mined.evidence, mined.label_errors, progress_calls[-1]) == ("training", 0, (len(rows_N), len(rows_N)))
    assert any("train --folds" in notice for notice in mined.notices)
    for label, kind, sign in ((0, "hard_negative", 1), (1, "hard_positive", -1)):
        of_class = rows_N[opened.labels_N[rows_N] == label]
        wanted = of_class[np.argsort(-sign * logits_N[opened.labels_N[rows_N] == label], kind="stable")]
        listed = frame[frame["kind"] == kind]
        assert listed["id"].tolist() == opened.ids_N[wanted[: round(0.25 * len(of_class))]].tolist()
        assert (listed["label"] == label).all()
        assert (listed["weight"] == 2.0).all()
    np.testing.assert_allclose(
        frame["loss"], -np.log(np.where(frame["label"] == 1, frame["probability"], 1 - frame["probability"])), rtol=1e-5
    )


def test_label_errors_are_told_by_predictions_that_did_not_see_the_label(
    store: Path, run_dir: Path, predictions: Path, tmp_path: Path
) -> None:
    mined = mine.mine_patches(run_dir, tmp_path / "t.csv", ONE_THREAD, predictions=predictions)
    frame = mined_table.read(tmp_path / "t.csv").frame
    wrong = frame[frame["kind"] == "label_error"]
    opened = open_store(store)
    assert set(wrong["id"]) == set(opened.ids_N[read_split(opened).rows(Split.TRAIN)[:3]])
    assert wrong["loss"].is_monotonic_decreasing
    assert (wrong["weight"] == 0).all()
    assert (mined.evidence, mined.label_errors, mined.notices) == ("out of fold", 3, [mined_table.SEEN_BY_FOLDS])
    assert set(frame["evidence"]) == {"out of fold"}
    data = open_run_data(store, config())
    assert (
        mined_training.with_extra(data, config(extra=str(tmp_path / "t.csv"))).extra_notice == mined_table.SEEN_BY_FOLDS
    )
    assert mined.estimated_errors == pytest.approx(3, abs=1.5)
    assert [verdict.caution for verdict in mined.verdicts] == [3 / mined.num_labelled > 0.033]
    assert f"3 of {mined.num_labelled} labels" in mined.verdicts[0].text
    assert not set(wrong["id"]) & set(frame[frame["kind"] != "label_error"]["id"])


def test_nothing_held_out_is_listed(store: Path, run_dir: Path, predictions: Path, tmp_path: Path) -> None:
    mine.mine_patches(
        run_dir, tmp_path / "t.csv", ONE_THREAD, predictions=predictions, options=mine.MineOptions(hard_share=1.0)
    )
    opened = open_store(store)
    held = set(opened.ids_N[read_split(opened).rows(Split.VAL)])
    listed = set(mined_table.read(tmp_path / "t.csv").frame["id"])
    assert len(listed) == len(opened) - len(held)
    assert not listed & held


def test_unlabelled_patches_get_the_label_the_network_is_sure_of(
    store: Path, run_dir: Path, unlabelled: Path, tmp_path: Path
) -> None:
    options = mine.MineOptions(confidence=0.5)
    mined = mine.mine_patches(run_dir, tmp_path / "all.csv", ONE_THREAD, stores=[unlabelled], options=options)
    frame = mined_table.read(tmp_path / "all.csv").frame
    assert mined.num_unlabelled == len(frame) == mined.pseudo_negatives + mined.pseudo_positives == 8
    assert (mined.num_labelled, mined.calibration) == (0, "none")
    assert any("raw probability" in notice for notice in mined.notices)
    assert ((frame["probability"] > 0.5) == (frame["label"] == 1)).all()
    sure_N = np.maximum(frame["probability"], 1 - frame["probability"])
    assert (np.diff(sure_N) <= 1e-9).all()
    middle = float(sure_N.iloc[3])
    mine.mine_patches(
        run_dir,
        tmp_path / "some.csv",
        ONE_THREAD,
        stores=[unlabelled],
        options=mine.MineOptions(confidence=middle - 1e-9),
    )
    assert mined_table.read(tmp_path / "some.csv").frame["id"].tolist() == frame["id"].tolist()[:4]


def test_calibration_decides_who_is_sure(
    run_dir: Path, unlabelled: Path, predictions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastpath.analysis.calibration import Calibrator

    mine.mine_patches(
        run_dir, tmp_path / "raw.csv", ONE_THREAD, stores=[unlabelled], options=mine.MineOptions(confidence=0.5)
    )
    cold = Calibrator("temperature", slope=100.0)
    monkeypatch.setattr(calibration_file, "load", lambda _path, _tta, _mean: calibration_file.Kept(cold))
    mined = mine.mine_patches(
        run_dir, tmp_path / "t.csv", ONE_THREAD, stores=[unlabelled], options=mine.MineOptions(confidence=0.5)
    )
    raw, frame = (mined_table.read(tmp_path / name).frame.set_index("id") for name in ("raw.csv", "t.csv"))
    logit = np.log(raw["probability"] / (1 - raw["probability"])) * 100
    np.testing.assert_allclose(frame["probability"], 1 / (1 + np.exp(-logit[frame.index])), atol=1e-4)
    assert (mined.calibration, mined.notices) == ("temperature", [])
    monkeypatch.undo()
    mined_by_folds = mine.mine_patches(
        run_dir, tmp_path / "o.csv", ONE_THREAD, stores=[unlabelled], predictions=predictions
    )
    assert mined_by_folds.calibration == "platt"  # fitted on out-of-fold predictions, for want of one of the run


def test_training_takes_the_table_and_resumes_with_no_other(
    store: Path, run_dir: Path, unlabelled: Path, predictions: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    options = mine.MineOptions(hard_share=0.2, confidence=0.5)
    mined = mine.mine_patches(
        run_dir, table, ONE_THREAD, stores=[store, unlabelled], predictions=predictions, options=options
    )
    events: list[Any] = []
    again = tmp_path / "again"
    train.train_run(store, again, config(extra=str(table)), ONE_THREAD, on_event=events.append)
    num_train = len(read_split(open_store(store)).rows(Split.TRAIN))
    assert events[0].num_train == num_train - 3 + 8 == num_train - mined.label_errors + mined.num_unlabelled
    assert load_checkpoint(again / "last.pt").extra_fingerprint == mined_table.read(table).fingerprint
    longer = config(extra=str(table)).model_copy(update={"train": config().train.model_copy(update={"epochs": 1})})
    assert train.train_run(store, again, longer, ONE_THREAD, resume=True).status == "finished"
    frame = pd.read_csv(table)
    frame["weight"] *= 2
    frame.to_csv(table, index=False)
    with pytest.raises(CheckpointError, match="belongs to another table of mined patches"):
        train.train_run(store, again, longer, ONE_THREAD, resume=True)


def test_weights_change_what_a_run_learns(store: Path, run_dir: Path, predictions: Path, tmp_path: Path) -> None:
    mine.mine_patches(run_dir, tmp_path / "t.csv", ONE_THREAD, predictions=predictions)
    for name in ("a", "b"):
        train.train_run(store, tmp_path / name, config(extra=str(tmp_path / "t.csv")), ONE_THREAD)
    plain, a, b = (load_checkpoint(path / "last.pt").model for path in (run_dir, tmp_path / "a", tmp_path / "b"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], plain[key]) for key in a)


class TestRefusals:
    """Each is one line, before time is spent."""

    def test_a_target_of_no_known_format(self, run_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"found '\.txt', wanted a name that ends in \.parquet or \.csv"):
            mine.mine_patches(run_dir, tmp_path / "t.txt", ONE_THREAD)

    def test_predictions_that_lack_patches(self, run_dir: Path, predictions: Path, tmp_path: Path) -> None:
        pd.read_parquet(predictions).iloc[:-40].to_parquet(tmp_path / "few.parquet")
        with pytest.raises(DataError, match=r"lacks \d+ of \d+ training patches"):
            mine.mine_patches(run_dir, tmp_path / "t.csv", ONE_THREAD, predictions=tmp_path / "few.parquet")

    def test_predictions_without_logits(self, run_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("id,probability\na,0.5\n")
        with pytest.raises(DataError, match="found no column 'logit'"):
            mine.mine_patches(run_dir, tmp_path / "t.csv", ONE_THREAD, predictions=tmp_path / "p.csv")

    def test_a_store_divided_anew(self, kaggle_folder: Path, tmp_path: Path) -> None:
        pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
        train.train_run(tmp_path / "store", tmp_path / "run", config(), ONE_THREAD)
        write_split(open_store(tmp_path / "store"), "random", seed=3)
        with pytest.raises(StoreError, match="is not the split that the run was trained on"):
            mine.mine_patches(tmp_path / "run", tmp_path / "t.csv", ONE_THREAD)
