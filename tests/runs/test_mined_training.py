"""What a table of mined patches changes of a run, and what it must never bring in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastpath.config import Config, parse
from fastpath.errors import DataError, StoreError
from fastpath.ingest.split import write_split, write_split_from_csv
from fastpath.runs import mined_table, mined_training
from fastpath.runs.mined_table import MinedKind
from fastpath.runs.run_data import RunData, open_run_data
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.show import show_samples

Row = tuple[str, MinedKind, int, float, Path]


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("extra") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="module")
def unlabelled(kaggle_folder: Path, store: Path) -> Path:
    path = store.parent / "unlabelled"
    pack.pack_source(kaggle_folder / "test", path, workers=1)
    return path


@pytest.fixture
def write(store: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a table as a user might: any row, any split."""

    def write(rows: list[Row], name: str = "table.parquet", split: str | None = None) -> Path:
        stores = {path: open_store(path) for path in {row[4] for row in rows}}
        made = mined_table.frame_of(
            {
                "id": [row[0] for row in rows],
                "kind": [str(row[1]) for row in rows],
                "label": [row[2] for row in rows],
                "probability": [0.5] * len(rows),
                "loss": [0.7] * len(rows),
                "weight": [row[3] for row in rows],
                "store": [str(row[4]) for row in rows],
                "store_fingerprint": [stores[row[4]].fingerprint for row in rows],
                "split_fingerprint": [split or mined_table.split_fingerprint(read_split(open_store(store)))]
                * len(rows),
            }
        )
        mined_table.write(tmp_path / name, made)
        return tmp_path / name

    return write


def config(table: Path | None, **data: Any) -> Config:
    return parse({"data": {**({} if table is None else {"extra": str(table)}), **data}})


def opened(store: Path, table: Path | None, **data: Any) -> RunData:
    settings = config(table, **data)
    return mined_training.with_extra(open_run_data(store, settings), settings)


def test_without_a_table_nothing_changes(store: Path) -> None:
    data = opened(store, None)
    assert data.patches is data.store
    assert (data.weights_N, data.extra_fingerprint) == (None, "")


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_a_table_adds_drops_relabels_and_weighs(
    store: Path, unlabelled: Path, write: Callable[..., Path], name: str
) -> None:
    plain = opened(store, None)
    ids_N, other = plain.store.ids_N[plain.train_rows_N], open_store(unlabelled)
    flipped = 1 - int(plain.store.labels_N[plain.train_rows_N[2]])
    rows: list[Row] = [
        (ids_N[0], MinedKind.HARD_NEGATIVE, int(plain.store.labels_N[plain.train_rows_N[0]]), 2.0, store),
        (ids_N[1], MinedKind.LABEL_ERROR, 0, 0.0, store),
        (ids_N[2], MinedKind.LABEL_ERROR, flipped, 1.0, store),
        (other.ids_N[3], MinedKind.PSEUDO_LABEL, 1, 0.5, unlabelled),
    ]
    data = opened(store, write(rows, name))
    assert len(data.train_rows_N) == len(plain.train_rows_N)
    assert data.weights_N is not None
    weight = dict(zip(data.patches.ids_N[data.train_rows_N], data.weights_N, strict=True))
    label = dict(zip(data.patches.ids_N, data.patches.labels_N, strict=True))
    assert (weight[ids_N[0]], weight[ids_N[3]], weight[other.ids_N[3]]) == (2.0, 1.0, 0.5)
    assert ids_N[1] not in weight
    assert (label[ids_N[2]], label[other.ids_N[3]]) == (flipped, 1)
    at = data.patches.ids_N.tolist().index(other.ids_N[3])
    np.testing.assert_array_equal(data.patches.gather(np.array([at])), other.gather(np.array([3])))
    # What is validated on, and its name, stay as they are.
    np.testing.assert_array_equal(data.val_rows_N, plain.val_rows_N)
    assert data.fingerprint == plain.fingerprint
    assert len(data.extra_fingerprint) == 16


def test_a_table_brings_back_what_a_limit_left_out(store: Path, write: Callable[..., Path]) -> None:
    limited = opened(store, None, limit=20)
    everything = open_run_data(store, config(None)).train_rows_N
    row = next(row for row in everything if row not in limited.train_rows_N)
    table = write([(limited.store.ids_N[row], MinedKind.HARD_POSITIVE, 1, 1.0, store)])
    assert set(opened(store, table, limit=20).train_rows_N) == {*limited.train_rows_N, row}


def test_the_order_is_a_function_of_seed_and_epoch(store: Path, write: Callable[..., Path]) -> None:
    plain = opened(store, None)
    name = plain.store.ids_N[plain.train_rows_N[5]]
    table = write([(name, MinedKind.HARD_NEGATIVE, 0, 8.0, store)])
    settings = config(table, sampling="natural")
    data = mined_training.with_extra(open_run_data(store, settings), settings)
    orders = [data.order(settings, epoch) for epoch in (0, 1, 0)]
    np.testing.assert_array_equal(orders[0], orders[2])
    assert (orders[0] != orders[1]).any()
    drawn = np.mean([(data.order(settings, epoch) == plain.train_rows_N[5]).sum() for epoch in range(50)])
    assert drawn == pytest.approx(8.0 * 64 / 71, abs=0.2)


@pytest.mark.dali
def test_the_samples_of_a_run_with_a_table_are_shown(
    store: Path, unlabelled: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    plain, other = opened(store, None), open_store(unlabelled)
    row = int(plain.train_rows_N[2])
    flipped, pseudo = plain.store.ids_N[row], other.ids_N[3]
    wrong = 1 - int(plain.store.labels_N[row])
    rows: list[Row] = [
        (flipped, MinedKind.LABEL_ERROR, wrong, 9.0, store),
        (pseudo, MinedKind.PSEUDO_LABEL, 1, 9.0, unlabelled),
    ]
    settings = config(write(rows), sampling="natural", image_size_px=32, batch_size=16)
    data = mined_training.with_extra(open_run_data(store, settings), settings)
    epoch_samples = show_samples.show_samples(
        store, tmp_path / "shown", settings, resolve("cpu"), epoch=1, position=0, count=1024
    )
    order = data.order(settings, 1)
    assert [sample["id"] for sample in epoch_samples.shown] == data.patches.ids_N[order].tolist()
    label = {sample["id"]: sample["label"] for sample in epoch_samples.shown}
    assert (label[flipped], label[pseudo]) == (("normal", "tumour")[wrong], "tumour")
    for sample in epoch_samples.shown:
        place = other if sample["id"] == pseudo else plain.store
        assert sample["store"] == place.path.name
        assert place.ids_N[sample["row"]] == sample["id"]
        with Image.open(tmp_path / "shown" / sample["files"]["stored"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture), place.gather(np.array([sample["row"]]))[0])


class TestLeakGuard:
    """Nothing that is held out gets in."""

    def test_a_validation_patch_by_id(self, store: Path, write: Callable[..., Path]) -> None:
        held = open_store(store).ids_N[read_split(open_store(store)).rows(Split.VAL)[0]]
        table = write([(held, MinedKind.HARD_NEGATIVE, 0, 2.0, store)])
        with pytest.raises(DataError, match=rf"holds 1 patches of the validation .* '{held}' \(hard_negative, by id\)"):
            opened(store, table)

    @pytest.mark.parametrize("weight", [0.0, 1.0])
    def test_a_validation_patch_by_its_pixels_under_another_name(
        self, kaggle_folder: Path, store: Path, write: Callable[..., Path], tmp_path: Path, weight: float
    ) -> None:
        held = open_store(store).ids_N[read_split(open_store(store)).rows(Split.VAL)[0]]
        (tmp_path / "renamed").mkdir()
        shutil.copy(kaggle_folder / "train" / f"{held}.tif", tmp_path / "renamed" / "innocent.tif")
        pack.pack_source(tmp_path / "renamed", tmp_path / "other", workers=1)
        table = write([("innocent", MinedKind.PSEUDO_LABEL, 1, weight, tmp_path / "other")])
        with pytest.raises(DataError, match=r"'innocent' \(pseudo_label, by pixels or slide\)"):
            opened(store, table)

    @pytest.mark.parametrize(("kind", "guarded"), [("group", True), ("csv", True), ("random", False)])
    def test_a_patch_of_a_slide_that_is_held_out_whatever_the_kind_of_split(
        self, kaggle_folder: Path, tmp_path: Path, kind: Any, guarded: bool
    ) -> None:
        """A split by slide that a table gives is as good as one that was dealt; in a random one slides are shared."""
        pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
        own = open_store(tmp_path / "store")
        table = write_split(own, "random" if kind == "random" else "group")
        if kind == "csv":
            names = {ord("t"): "train", ord("v"): "val"}
            rows = zip(own.ids_N, table.codes_N, strict=True)
            (tmp_path / "s.csv").write_text("id,split\n" + "".join(f"{name},{names[code]}\n" for name, code in rows))
            table = write_split_from_csv(own, tmp_path / "s.csv")
        held_slide = own.column("group")[table.rows(Split.VAL)[0]]
        new = sorted(path.stem for path in (kaggle_folder / "test").iterdir())
        groups = tmp_path / "g.csv"
        slides = [held_slide, held_slide, *["elsewhere"] * (len(new) - 2)]
        groups.write_text("id,wsi\n" + "".join(f"{a},{b}\n" for a, b in zip(new, slides, strict=True)))
        pack.pack_source(kaggle_folder / "test", tmp_path / "other", pack.PackOptions(groups=groups), workers=1)
        other = open_store(tmp_path / "other")
        found_N = mined_training.held_out_twins(own, table, other, np.arange(len(other)))
        assert (table.kind, other.ids_N[found_N].tolist()) == (kind, new[:2] if guarded else [])

    def test_a_table_of_another_split(self, store: Path, unlabelled: Path, write: Callable[..., Path]) -> None:
        table = write(
            [(open_store(unlabelled).ids_N[0], MinedKind.PSEUDO_LABEL, 1, 1.0, unlabelled)], split="elsewhere"
        )
        with pytest.raises(DataError, match="was mined on another split"):
            opened(store, table)

    def test_a_table_from_before_the_split_was_dealt_anew(
        self, store: Path, unlabelled: Path, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        table = write([(open_store(unlabelled).ids_N[0], MinedKind.PSEUDO_LABEL, 1, 1.0, unlabelled)])
        shutil.copytree(store, tmp_path / "again")
        write_split(open_store(tmp_path / "again"), "group", seed=5)
        with pytest.raises(DataError, match="was mined on another split"):
            opened(tmp_path / "again", table)


class TestTables:
    """What is not a table of mined patches is one line."""

    @pytest.mark.parametrize(
        ("column", "value", "phrase"),
        [
            ("kind", "odd", "found kind 'odd', wanted one of hard_negative"),
            ("label", 2, "found label .*2.*, wanted 0 or 1"),
            ("weight", -1.0, "wanted a number from 0 on"),
            ("weight", float("nan"), "wanted a number from 0 on"),
            ("decision", "maybe", "found decision 'maybe', wanted keep, flip, drop or nothing"),
            ("decision", "drop", "found weight .*1.*, wanted 0, as its decision is 'drop'"),
            ("id", "nobody", "names patch 'nobody'"),
            ("store_fingerprint", "0" * 32, "is not the store that patches were mined in"),
        ],
    )
    def test_a_wrong_value(
        self, store: Path, unlabelled: Path, write: Callable[..., Path], column: str, value: object, phrase: str
    ) -> None:
        path = write([(open_store(unlabelled).ids_N[0], MinedKind.PSEUDO_LABEL, 1, 1.0, unlabelled)])
        frame = pd.read_parquet(path)
        frame[column] = value
        frame.to_parquet(path)
        with pytest.raises((DataError, StoreError), match=phrase):
            opened(store, path)

    @pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
    def test_a_decision_is_no_more_than_a_note(
        self, store: Path, unlabelled: Path, write: Callable[..., Path], name: str
    ) -> None:
        """Label and weight are what counts, whoever wrote them."""
        ids = open_store(unlabelled).ids_N
        rows = [(ids[at], MinedKind.PSEUDO_LABEL, at % 2, float(at < 3), unlabelled) for at in range(4)]
        plain = opened(store, write(rows, name))
        frame = mined_table.read(write(rows, name)).frame
        frame["decision"] = ["keep", "flip", None, "drop"]
        path = write(rows, name)
        mined_table.write(path, frame)
        assert "decision" in mined_table.read(path).frame
        decided = opened(store, path)
        np.testing.assert_array_equal(decided.train_rows_N, plain.train_rows_N)
        np.testing.assert_array_equal(decided.patches.labels_N, plain.patches.labels_N)

    def test_a_patch_twice(self, store: Path, unlabelled: Path, write: Callable[..., Path]) -> None:
        row: Row = (open_store(unlabelled).ids_N[0], MinedKind.PSEUDO_LABEL, 1, 1.0, unlabelled)
        with pytest.raises(DataError, match=r"row 2: found id .* wanted each patch once"):
            opened(store, write([row, row]))

    def test_a_missing_column(self, store: Path, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("id,kind\na,hard_negative\n")
        with pytest.raises(DataError, match="found no column 'label'"):
            opened(store, tmp_path / "table.csv")

    @pytest.mark.parametrize("name", ["absent.parquet", "broken.parquet", "broken.csv"])
    def test_no_table(self, store: Path, tmp_path: Path, name: str) -> None:
        if name.startswith("broken"):
            (tmp_path / name).write_bytes(b'\x00\xff"')
        with pytest.raises(DataError, match=r"cannot be read|found no column"):
            opened(store, tmp_path / name)

    def test_one_class_left(self, store: Path, write: Callable[..., Path]) -> None:
        plain = opened(store, None)
        rows_N = plain.train_rows_N[plain.store.labels_N[plain.train_rows_N] == 1]
        rows: list[Row] = [(plain.store.ids_N[row], MinedKind.LABEL_ERROR, 1, 0.0, store) for row in rows_N]
        with pytest.raises(DataError, match="leaves one class to train on"):
            opened(store, write(rows))
