"""Folds predict every patch by a network that did not see it; the leak meter sees slides that tell the label."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from sklearn.metrics import roc_auc_score

from fastpath import config as configuration
from fastpath.cli.main import app
from fastpath.config import Config, parse
from fastpath.engine.loop import StepEvent
from fastpath.errors import CheckpointError, ConfigError, DataError, FastpathError, StoreError, UsageError
from fastpath.ingest.split import write_split
from fastpath.runs import out_of_fold
from fastpath.runs.run_directory import claimed
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.compare import leak
from fastpath.workflows.mine import mine
from fastpath.workflows.show import show_samples
from fastpath.workflows.train import folds, trackers

pytestmark = [pytest.mark.dali, pytest.mark.usefixtures("one_thread")]

ONE_THREAD = Runtime(torch.device("cpu"), num_threads=1)
SETTINGS: dict[str, Any] = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural", "augment": {"policy": "d4"}},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "optim": {"lr_head": 1e-3, "lr_trunk": 1e-3},
    "schedule": {"kind": "constant"},
    "train": {"epochs": 1},
}


def config(**changes: dict[str, Any]) -> Config:
    return parse({key: value | changes.get(key, {}) for key, value in SETTINGS.items()})


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folds") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    write_split(open_store(path), "group", folds=3, fold=1)
    return path


@pytest.fixture(scope="module")
def whole(store: Path) -> folds.FoldsResult:
    torch.set_num_threads(1)
    return folds.train_folds(store, store.parent / "whole", config(), ONE_THREAD, 3)


def interrupting(after: int) -> folds.Watch:
    """Interrupt after so many steps of all folds together."""
    num_steps_seen = 0

    @contextmanager
    def watch(_name: str) -> Iterator[Callable[[Any], None]]:
        def listen(event: object) -> None:
            nonlocal num_steps_seen
            num_steps_seen += isinstance(event, StepEvent)
            if num_steps_seen == after and isinstance(event, StepEvent):
                signal.raise_signal(signal.SIGINT)

        yield listen

    return watch


def test_every_patch_is_predicted_by_the_fold_that_did_not_train_on_it(store: Path, whole: folds.FoldsResult) -> None:
    frame = out_of_fold.read(whole.run_dir / "out_of_fold.parquet")
    opened = open_store(store)
    assert sorted(frame["id"]) == sorted(opened.ids_N)
    assert tuple(frame.columns) == out_of_fold.COLUMNS
    for fold in range(3):
        rows_N = read_split(opened, fold).rows(Split.VAL)
        part = frame[frame["fold"] == fold]
        assert part["id"].tolist() == opened.ids_N[rows_N].tolist()
        assert part["group"].tolist() == opened.groups_N[rows_N].tolist()  # type: ignore[index]
        assert part["label"].tolist() == opened.labels_N[rows_N].tolist()
        trained = open_run(whole.run_dir / f"fold-{fold}")
        np.testing.assert_array_equal(part["logit"], score(trained, opened, rows_N, ONE_THREAD))
        facts = json.loads((whole.run_dir / f"fold-{fold}" / "run.json").read_text())
        assert (facts["split_fold"], facts["num_val"]) == (fold, len(rows_N))


def test_the_summary_is_that_of_the_table(whole: folds.FoldsResult) -> None:
    frame = out_of_fold.read(whole.run_dir / "out_of_fold.parquet")
    aucs = [roc_auc_score(part["label"], part["logit"]) for _, part in frame.groupby("fold")]
    assert whole.aucs == pytest.approx(aucs)
    assert (whole.mean_auc, whole.sd_auc) == pytest.approx((np.mean(aucs), np.std(aucs, ddof=1)))
    assert whole.pooled_auc == pytest.approx(roc_auc_score(frame["label"], frame["logit"]))
    assert whole.pooled_low < whole.pooled_auc < whole.pooled_high
    assert (whole.status, whole.interval_over, whole.num_patches) == ("finished", "slide", 96)
    assert json.loads((whole.run_dir / "folds.json").read_text())["pooled_auc"] == whole.pooled_auc


@pytest.mark.parametrize("steps", [2, 6])
def test_folds_that_were_interrupted_go_on_to_the_same_table(
    store: Path, whole: folds.FoldsResult, tmp_path: Path, steps: int
) -> None:
    path = tmp_path / "run"
    stopped = folds.train_folds(store, path, config(), ONE_THREAD, 3, watch=interrupting(steps))
    assert stopped.status == "interrupted"
    assert not (path / "out_of_fold.parquet").exists()
    assert folds.train_folds(store, path, config(), ONE_THREAD, 3, resume=True).status == "finished"
    assert (path / "out_of_fold.parquet").read_bytes() == (whole.run_dir / "out_of_fold.parquet").read_bytes()
    with pytest.raises(CheckpointError, match="belongs to another configuration"):
        folds.train_folds(store, path, config(data={"batch_size": 3}), ONE_THREAD, 3, resume=True)


def test_folds_are_extended(store: Path, whole: folds.FoldsResult, tmp_path: Path) -> None:
    shutil.copytree(whole.run_dir, tmp_path / "run")
    longer = config(train={"epochs": 2})
    assert folds.train_folds(store, tmp_path / "run", longer, ONE_THREAD, 3, resume=True).status == "finished"
    for fold in range(3):
        assert len((tmp_path / "run" / f"fold-{fold}" / "journal.jsonl").read_text().splitlines()) == 2
    with pytest.raises(CheckpointError, match="belongs to another configuration"):  # unless that is asked for
        folds.train_all(open_store(store), tmp_path / "run", config(), ONE_THREAD, [])


def test_trackers_and_residency_reach_every_fold(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs_tracked: list[tuple[str, int, float]] = []

    class Listener:
        def __init__(self, name: str) -> None:
            self.name = name

        def tell(self, epoch: int, values: Mapping[str, float]) -> None:
            epochs_tracked.append((self.name, epoch, values["val_auc"]))

        def close(self, *, failed: bool) -> None:
            assert not failed

    class Kind:
        def check(self) -> None:
            pass

        def open(self, run_dir: Path, _config: Config, first_epoch: int) -> Listener:
            assert first_epoch == 1
            return Listener(run_dir.name)

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", Kind())
    options: dict[str, Any] = {"trackers": ("tensorboard",), "residency": "device"}
    trained = folds.train_folds(store, tmp_path / "run", config(), ONE_THREAD, 3, **options)
    assert epochs_tracked == [(f"fold-{fold}", 1, pytest.approx(auc)) for fold, auc in enumerate(trained.aucs)]
    for fold in range(3):
        facts = json.loads((tmp_path / "run" / f"fold-{fold}" / "run.json").read_text())
        assert facts["memory"]["residency"] == "device"
    folds.train_folds(store, tmp_path / "run", config(), ONE_THREAD, 3, resume=True, **options)
    assert len(epochs_tracked) == 3  # nothing is trained again, so nothing is told again


def test_a_fold_that_fails_names_what_shows_its_own_samples(store: Path, tmp_path: Path) -> None:
    diverging = config(optim={"lr_head": 1e30, "lr_trunk": 1e30})
    run = tmp_path / "run $(touch ran)"
    with pytest.raises(FastpathError, match=r"fastpath show .* --fold 0 --config") as failed:
        folds.train_folds(store, run, diverging, ONE_THREAD, 3)
    failure = json.loads((run / "fold-0" / "failure.json").read_text())
    assert str(failed.value).endswith(f"run: {failure['show']}")
    _, name, *words = shlex.split(failure["show"])  # as a shell reads what is pasted
    command = app.get_command(click.Context(app), name)
    assert command is not None
    parameters = command.make_context(name, words).params
    assert (parameters["store"], parameters["output"]) == (store, run / "fold-0" / "failure")
    settings = configuration.load(parameters["config_path"])
    place = failure["samples"][0]["position"]
    shown = show_samples.show_samples(
        store, tmp_path / "shown", settings, ONE_THREAD, epoch=failure["epoch"], position=place, count=16, fold=0
    )
    assert [patch["id"] for patch in shown.shown] == [sample["id"] for sample in failure["samples"]]
    # Of a division that the store does not keep, the patches are named instead.
    with pytest.raises(FastpathError, match=r"fastpath show \S+ --ids "):
        leak.measure_leak(store, tmp_path / "leak", diverging, ONE_THREAD)
    assert "--epoch" not in json.loads((tmp_path / "leak" / "random" / "fold-0" / "failure.json").read_text())["show"]


def test_folds_are_mined_with_the_network_that_did_not_see_the_stores_validation_patches(
    whole: folds.FoldsResult, kaggle_folder: Path, tmp_path: Path
) -> None:
    pack.pack_source(kaggle_folder / "test", tmp_path / "unlabelled", workers=1)
    mined = mine.mine_patches(
        whole.run_dir,
        tmp_path / "t.csv",
        ONE_THREAD,
        stores=[whole.run_dir.parent / "store", tmp_path / "unlabelled"],
        options=mine.MineOptions(confidence=0.5),
    )
    assert (mined.evidence, mined.calibration, mined.num_unlabelled) == ("out of fold", "platt", 8)
    frame = pd.read_csv(tmp_path / "t.csv").set_index("id")
    opened = open_store(tmp_path / "unlabelled")
    logits_N = score(open_run(whole.run_dir / "fold-1"), opened, np.arange(8), ONE_THREAD)
    label = frame.loc[opened.ids_N, "label"].to_numpy()
    np.testing.assert_array_equal(label, (logits_N > 0).astype(int))


class TestRefusals:
    """Each is one line, and leaves nothing behind."""

    def test_a_store_without_these_folds(self, store: Path, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"found 3 folds, wanted 5; run: fastpath split .*store --folds 5"):
            folds.train_folds(store, tmp_path / "run", config(), ONE_THREAD, 5)
        assert not (tmp_path / "run").exists()

    def test_a_directory_that_holds_folds(self, store: Path, whole: folds.FoldsResult) -> None:
        with pytest.raises(UsageError, match="already holds a run"):
            folds.train_folds(store, whole.run_dir, config(), ONE_THREAD, 3)

    def test_a_recipe_that_trains_on_validation_patches(self, store: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"train\.include_val: found true"):
            folds.train_folds(store, tmp_path / "run", config(train={"include_val": True}), ONE_THREAD, 3)
        assert not (tmp_path / "run").exists()

    def test_a_tracker_that_is_not_installed(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "mlflow", None)
        with pytest.raises(UsageError, match="--mlflow: the package 'mlflow' is not installed"):
            folds.train_folds(store, tmp_path / "run", config(), ONE_THREAD, 3, trackers=("mlflow",))
        assert not (tmp_path / "run").exists()

    def test_a_leak_without_groups(self, kaggle_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        for name in ("train", "train_labels.csv"):
            (tmp_path / "source" / name).symlink_to(kaggle_folder / name)
        options = pack.PackOptions(follow=(kaggle_folder,))
        pack.pack_source(tmp_path / "source", tmp_path / "store", options, workers=1)
        with pytest.raises(DataError, match="found no groups, wanted each patch's slide"):
            leak.measure_leak(tmp_path / "store", tmp_path / "out", config(), ONE_THREAD)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("text", ["random", "random,csv", ""])
    def test_splits_that_have_no_leak(self, text: str) -> None:
        with pytest.raises(UsageError, match="wanted random,group"):
            leak.parse_kinds(text)


def write_stained(folder: Path, *, num_slides: int, per_slide: int, telling: float, seed: int) -> None:
    """Flat noisy patches whose slide has a colour of its own, and whose label the slide decides to some degree."""
    rng = np.random.default_rng(seed)
    (folder / "train").mkdir(parents=True)
    labels, groups = [("id", "label")], [("id", "wsi")]
    for slide in range(num_slides):
        colour, majority = rng.uniform(60, 200, 3), slide % 2
        for number in range(per_slide):
            name = f"s{slide:02d}-{number:03d}"
            pixels = np.clip(colour + rng.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8)
            tifffile.imwrite(folder / "train" / f"{name}.tif", pixels, photometric="rgb")
            labels.append((name, str(majority if rng.random() < telling else 1 - majority)))
            groups.append((name, f"slide{slide}"))
    for file, rows in (("train_labels.csv", labels), ("groups.csv", groups)):
        with (folder / file).open("w", newline="") as opened:
            csv.writer(opened).writerows(rows)


def test_the_leak_meter_sees_slides_that_tell_the_label(tmp_path: Path) -> None:
    write_stained(tmp_path / "source", num_slides=24, per_slide=16, telling=0.95, seed=3)
    pack.pack_source(tmp_path / "source", tmp_path / "store", workers=1)
    before = (tmp_path / "store" / "split.json").read_bytes()
    meter = leak.measure_leak(
        tmp_path / "store", tmp_path / "out", config(train={"epochs": 12}), ONE_THREAD, num_folds=2
    )
    assert meter.random_auc > 0.8
    assert meter.group_auc < 0.7
    assert meter.difference == pytest.approx(meter.random_auc - meter.group_auc)
    assert meter.difference_low > 0
    assert "flatters" in meter.verdict
    frame = pd.read_parquet(tmp_path / "out" / "random" / "out_of_fold.parquet")
    by_fold = [roc_auc_score(fold_rows.label, fold_rows.logit) for _, fold_rows in frame.groupby("fold")]
    assert meter.random_fold_auc == pytest.approx(np.mean(by_fold))
    assert f"by {meter.random_fold_auc - meter.group_fold_auc:+.3f}" in meter.verdict
    assert meter.interval_over == "slide"
    assert (tmp_path / "store" / "split.json").read_bytes() == before
    again = leak.measure_leak(
        tmp_path / "store", tmp_path / "out", config(train={"epochs": 12}), ONE_THREAD, num_folds=2
    )
    assert again == meter


def test_no_leak_is_seen_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    frames = {
        kind: pd.DataFrame(
            {
                "label": (labels := rng.integers(0, 2, 400)),
                "logit": rng.normal(labels * 1.5, 1.0),
                "group": rng.integers(0, 20, 400).astype(str),
            }
        )
        for kind in leak.KINDS
    }
    (_, _, gap), over = leak.difference(frames)
    assert over == "slide"
    assert gap.low < 0 < gap.high


def test_folds_leave_a_directory_alone_that_another_process_has(
    store: Path, whole: folds.FoldsResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "folds"
    with claimed(run_dir), pytest.raises(UsageError, match="another process is training here"):
        folds.train_folds(store, run_dir, config(), ONE_THREAD, 3)
    assert not any(run_dir.iterdir())

    def meanwhile(*_arguments: object) -> None:
        shutil.copytree(whole.run_dir, run_dir, dirs_exist_ok=True)

    monkeypatch.setattr(folds, "_check", meanwhile)
    with pytest.raises(UsageError, match="another process has trained here meanwhile"):
        folds.train_folds(store, run_dir, config(), ONE_THREAD, 3)
    assert (run_dir / "folds.json").read_bytes() == (whole.run_dir / "folds.json").read_bytes()
