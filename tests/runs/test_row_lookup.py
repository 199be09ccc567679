"""What a run has done with the patches that are judged: every part of its own store, other stores, and files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastpath.config import parse
from fastpath.ingest.loose_patches import open_source
from fastpath.ingest.split import write_split, write_split_from_csv
from fastpath.runs.row_history import RowHistory
from fastpath.runs.row_lookup import history_of, of_slide
from fastpath.runs.run_data import run_data_of
from fastpath.runs.trained import TrainedRun, open_run
from fastpath.runtime import resolve
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.train import train

pytestmark = pytest.mark.dali

TINY: dict[str, Any] = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
}


@pytest.fixture(scope="module")
def folder(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of train, val, test and some patches that are left out, with a run of two epochs."""
    path = tmp_path_factory.mktemp("history")
    pack.pack_source(kaggle_folder, path / "store", workers=1)
    store = open_store(path / "store")
    parts = {row: ("train", "train", "val", "test")[row % 4] for row in range(len(store) - 4)}  # four are left out
    table = path / "parts.csv"
    table.write_text("id,split\n" + "".join(f"{store.ids_N[row]},{part}\n" for row, part in parts.items()))
    write_split_from_csv(store, table)
    train.train_run(
        path / "store", path / "run", parse({**TINY, "train": {"epochs": 2}}), resolve("cpu", num_threads=1)
    )
    return path


@pytest.fixture
def store(folder: Path) -> Store:
    return open_store(folder / "store")


def _as_if(folder: Path, store: Store, checkpoint: Any = "best", *, alone: bool = False, **config: Any) -> TrainedRun:
    """Return the run as one of another configuration would be; alone, without what lies beside its checkpoint."""
    opened = open_run(folder / "run", checkpoint)
    settings = parse({**TINY, "train": {"epochs": 2}, **config})
    split = run_data_of(store, settings).fingerprint
    epoch = settings.train.epochs
    best = epoch if checkpoint == "best" else epoch - 1
    changed = replace(opened.checkpoint, split_fingerprint=split, epoch=epoch, best_epoch=best)
    path = folder / "nowhere" / opened.path.name if alone else opened.path
    return replace(opened, path=path, config=settings, checkpoint=changed)


def _parts(history: RowHistory, store: Store) -> dict[str, set[str]]:
    """Return which parts of the division each kind of row is of, checked to be whole."""
    codes_N = read_split(store).codes_N
    codes_of_part = {}
    for name in ("trained_N", "epoch_N", "held_out_N"):
        flags_N = getattr(history, name)
        codes_of_part[name] = {chr(code) for code in codes_N[flags_N]}
        assert flags_N.sum() == sum((codes_N == ord(code)).sum() for code in codes_of_part[name]), name
    return codes_of_part


@pytest.mark.parametrize(
    ("config", "checkpoint", "trained", "chose", "held", "num_epochs"),
    [
        ({"epochs": 2}, "best", "t", "v", "s-", 2),
        ({"epochs": 2}, "last", "t", "", "vs-", 1),
        ({"epochs": 1}, "best", "t", "", "vs-", 1),
        ({"epochs": 2, "include_val": True}, "best", "tv", "v", "s-", 2),
        ({"epochs": 2, "early_stop_epochs": 1}, "last", "t", "v", "s-", 2),
    ],
)
def test_every_part_of_the_runs_own_store_is_known(
    folder: Path, store: Store, config: Any, checkpoint: Any, trained: str, chose: str, held: str, num_epochs: int
) -> None:
    history = history_of(_as_if(folder, store, checkpoint, alone=True, train=config), store, np.arange(len(store)))
    wanted = {"trained_N": set(trained), "epoch_N": set(chose), "held_out_N": set(held)}
    assert _parts(history, store) == wanted
    assert (history.num_epochs, history.unknown, history.named) == (num_epochs, "", False)
    facts = history.facts()
    assert facts["num_held_out"] == sum((read_split(store).codes_N == ord(code)).sum() for code in held)
    json.dumps(facts)


def test_a_draw_of_the_validation_split_leaves_the_rest_held_out(folder: Path, store: Store) -> None:
    drawn = _as_if(folder, store, data={**TINY["data"], "val_limit": 8, "limit": 16})
    history = history_of(drawn, store, read_split(store).rows(Split.VAL))
    assert (history.epoch_N.sum(), history.held_out_N.sum()) == (8, 15)
    assert history_of(drawn, store, read_split(store).rows(Split.TRAIN)).trained_N.sum() == 16


def test_other_stores_and_files_are_known_by_id_pixels_and_slide(
    folder: Path, store: Store, kaggle_folder: Path, tmp_path: Path
) -> None:
    wanted = set(store.ids_N[read_split(store).rows(Split.TRAIN)])
    trained = open_run(folder / "run")
    loose = open_source(kaggle_folder / "train")
    by_id = history_of(trained, loose, np.arange(len(loose)))
    assert set(loose.ids_N[by_id.trained_N]) == wanted
    assert by_id.named
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for path in (kaggle_folder / "train").iterdir():
        shutil.copy(path, renamed / f"x{path.name}")
    pack.pack_source(renamed, tmp_path / "other", workers=1)
    other = open_store(tmp_path / "other")
    by_pixels = history_of(trained, other, np.arange(len(other)))
    assert {name[1:] for name in other.ids_N[by_pixels.trained_N]} == wanted
    lone = history_of(trained, open_source(kaggle_folder / "test"), np.arange(8))
    assert lone.held_out_N.all()
    assert lone.notices() == []
    notices = " ".join(by_id.notices())
    assert f"{len(wanted)} of 96 patches have the id or the pixels of patches that were trained on" in notices


def test_patches_of_slides_that_were_trained_on_are_told(folder: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(kaggle_folder / "test", tmp_path / "new")
    ids = sorted(path.stem for path in (tmp_path / "new").iterdir())
    slide = open_store(folder / "store").column("group")[0]
    groups = tmp_path / "groups.csv"
    groups.write_text("id,wsi\n" + "".join(f"{name},{slide if at < 3 else 'new'}\n" for at, name in enumerate(ids)))
    pack.pack_source(tmp_path / "new", tmp_path / "other", pack.PackOptions(groups=groups), workers=1)
    history = history_of(open_run(folder / "run"), open_store(tmp_path / "other"), np.arange(len(ids)))
    assert (history.trained_N.sum(), history.slide_N.sum(), history.held_out_N.sum()) == (0, 3, len(ids) - 3)
    assert "3 of 8 patches are of slides that were trained on" in history.notices()[0]


@pytest.mark.parametrize("change", ["gone", "divided", "packed"])
def test_where_the_runs_store_does_not_tell_that_is_said(
    folder: Path, kaggle_folder: Path, tmp_path: Path, change: str
) -> None:
    own, moved = tmp_path / "run", tmp_path / "store"
    shutil.copytree(folder / "run", own)
    shutil.copytree(folder / "store", moved)
    facts = json.loads((own / "run.json").read_text())
    (own / "run.json").write_text(json.dumps(facts | {"store": str(moved)}))
    if change == "gone":
        shutil.rmtree(moved)
    elif change == "divided":
        write_split(open_store(moved), "random", seed=3)
    else:
        pack.pack_source(kaggle_folder / "test", moved, workers=1, overwrite=True)
    loose = open_source(kaggle_folder / "train")
    history = history_of(open_run(own), loose, np.arange(len(loose)))
    assert not history.held_out_N.any()
    (notice,) = history.notices()
    assert notice.startswith("nothing tells which of these patches were trained on: ")
    assert {"gone": "not at hand", "divided": "divided anew", "packed": "packed anew"}[change] in notice


def test_a_run_of_a_sweep_says_that_its_patches_compared_settings(folder: Path, store: Store, tmp_path: Path) -> None:
    place = tmp_path / "sweep" / "runs" / "a" / "seed-0"
    shutil.copytree(folder / "run", place)
    names = {"store_fingerprint": "0", "precision": "float32", "a": "1", "b": "2", "c": "3"}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(names))
    history = history_of(open_run(place), store, read_split(store).rows(Split.VAL))
    assert history.num_settings == 3
    assert history.setting_N.all()
    assert "compared the 3 settings of the sweep" in " ".join(history.notices())
    assert history_of(open_run(place), store, read_split(store).rows(Split.TEST)).notices() == []


def test_the_patches_that_a_calibration_was_fitted_among_are_told(folder: Path, store: Store) -> None:
    trained, rows_N = open_run(folder / "run"), np.arange(len(store))
    assert not history_of(trained, store, rows_N).calibrated_N.any()
    for split, part in ((Split.VAL, "v"), (Split.TEST, "s")):
        history = history_of(trained, store, rows_N, split)
        assert {chr(code) for code in read_split(store).codes_N[history.calibrated_N]} == {part}
        assert "the calibration was fitted among" in " ".join(history.notices(calibrated=True))
        assert "the calibration was fitted among" not in " ".join(history.notices())


def test_a_slide_that_was_trained_on_is_told(folder: Path, store: Store, tmp_path: Path) -> None:
    trained = open_run(folder / "run")
    name = store.column("group")[read_split(store).rows(Split.TRAIN)[0]]
    assert f"patches of slide {name} were trained on" in of_slide(trained, name)
    assert of_slide(trained, "new") == ""
    shutil.copy(folder / "run" / "best.pt", tmp_path / "best.pt")
    assert "nothing tells whether patches of this slide" in of_slide(open_run(tmp_path / "best.pt"), name)
