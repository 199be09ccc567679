"""Who is trained on: the same as scikit-learn's own call, whole slides, exact statistics."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from fastpath.errors import DataError, StoreError
from fastpath.ingest.check_split import wrong_in_split
from fastpath.ingest.split import leak_notice, write_split, write_split_from_csv
from fastpath.ingest.stratified import stratified_draw
from fastpath.store import format as fmt
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack, split


@pytest.fixture
def store(kaggle_folder: Path, tmp_path: Path) -> Store:
    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    return open_store(tmp_path / "store")


def test_groups_never_straddle_and_every_patch_is_dealt(store: Store) -> None:
    table = read_split(store)
    train, val = table.rows(Split.TRAIN), table.rows(Split.VAL)
    assert table.kind == "group"
    assert sorted([*train, *val]) == list(range(len(store)))
    assert not set(store.groups_N[train]) & set(store.groups_N[val])
    assert leak_notice(store, table) == ""


def test_a_random_split_is_that_of_scikit_learn_in_the_order_of_the_labels(store: Store, kaggle_folder: Path) -> None:
    with (kaggle_folder / "train_labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    ids, labels = [line["id"] for line in lines], [int(line["label"]) for line in lines]
    assert store.ids_N.tolist() == ids
    train, val = train_test_split(ids, test_size=0.2, stratify=labels, random_state=42)
    table = write_split(store, "random")
    assert set(store.ids_N[table.rows(Split.TRAIN)]) == set(train)
    assert set(store.ids_N[table.rows(Split.VAL)]) == set(val)


def test_a_random_split_on_data_with_groups_says_that_it_leaks(store: Store) -> None:
    assert "this split leaks: 5 of 6 groups" in leak_notice(store, write_split(store, "random"))


def test_statistics_are_exactly_those_of_the_training_pixels(store: Store) -> None:
    table = write_split(store, "random", seed=5)
    pixels = store.gather(table.rows(Split.TRAIN)).reshape(-1, 3).astype(np.float64) / 255
    np.testing.assert_allclose(table.mean_3, pixels.mean(0), rtol=1e-10)
    np.testing.assert_allclose(table.std_3, pixels.std(0), rtol=1e-10)


@pytest.mark.parametrize("kind", ["random", "group"])
def test_folds_cover_every_patch_once_and_each_can_be_validation(store: Store, kind: str) -> None:
    write_split(store, kind, folds=3, fold=1)
    tables = [read_split(store, fold) for fold in range(3)]
    assert read_split(store).fold == 1
    held = np.concatenate([table.rows(Split.VAL) for table in tables])
    assert sorted(held) == list(range(len(store)))
    for table in tables:
        pixels = store.gather(table.rows(Split.TRAIN)).reshape(-1, 3) / 255
        np.testing.assert_allclose(table.mean_3, pixels.mean(0), rtol=1e-9)
        if kind == "group":
            assert leak_notice(store, table) == ""
    with pytest.raises(StoreError, match="found 3 folds, wanted fold 3"):
        read_split(store, 3)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(store: Store) -> None:
    path = store.path / fmt.SPLIT
    write_split(store, "random", seed=1)
    first = path.read_bytes()
    write_split(store, "random", seed=2)
    assert path.read_bytes() != first
    write_split(store, "random", seed=1)
    assert path.read_bytes() == first


def test_a_table_can_decide(store: Store, tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    parts = ["train", "val", "test"]
    table.write_text("id,split\n" + "".join(f"{store.ids_N[row]},{parts[row % 3]}\n" for row in range(9)))
    division = write_split_from_csv(store, table)
    assert [division.rows(Split(part)).tolist() for part in parts] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    table.write_text(f"id,split\n{store.ids_N[0]},dev\n")
    with pytest.raises(DataError, match=r"line 2: found id .* split 'dev'; wanted"):
        write_split_from_csv(store, table)
    table.write_text(f"id,split\n{store.ids_N[0]},val\n{store.ids_N[0]},train\n")
    with pytest.raises(DataError, match=r"line 3: found id .* a second time"):
        write_split_from_csv(store, table)
    assert read_split(store).codes_N.tobytes() == division.codes_N.tobytes(), "a refused table leaves the old split"


def test_a_split_of_another_store_is_refused(store: Store) -> None:
    path = store.path / fmt.SPLIT
    path.write_text(path.read_text().replace(store.fingerprint, "0" * 32))
    with pytest.raises(StoreError, match="split"):
        read_split(store)
    path.unlink()
    with pytest.raises(StoreError, match=r"found no split\.json"):
        read_split(store)


def test_what_cannot_be_divided_is_said_in_one_line(store: Store) -> None:
    with pytest.raises(DataError, match="6 groups for 7 folds"):
        write_split(store, "group", folds=7)
    with pytest.raises(DataError, match="--fold: found 3, wanted 0 to 2"):
        write_split(store, "random", folds=3, fold=3)


def test_unlabelled_patches_cannot_be_divided(kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder / "test", tmp_path / "test", workers=1)
    store = open_store(tmp_path / "test")
    assert store.ids_N.tolist() == sorted(store.ids_N)
    assert set(store.labels_N.tolist()) == {-1}
    with pytest.raises(DataError, match="found 8 unlabelled patches of 8"):
        write_split(store)


@given(
    counts=st.lists(st.integers(2, 60), min_size=1, max_size=3),
    share=st.sampled_from([0.05, 0.1, 0.2, 1 / 3, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_draw_is_that_of_scikit_learn(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = labels[np.random.default_rng(seed).permutation(len(labels))]
    try:
        _, held = train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed)
    except ValueError:
        with pytest.raises(ValueError, match="rows of classes"):
            stratified_draw(labels, share, seed)
    else:
        assert sorted(stratified_draw(labels, share, seed)) == sorted(held)


def test_a_share_that_whole_groups_cannot_give_is_said(store: Store) -> None:
    division = split.split_store(store.path, kind="group", val=0.4)  # 1 / 0.4 rounds to two folds
    assert division.share_val == pytest.approx(0.5, abs=0.06)
    assert f"validation holds {division.share_val:.1%} of the patches, not 40.0%" in division.notice
    exact = split.split_store(store.path, kind="random", val=0.25)
    assert exact.share_val == pytest.approx(0.25, abs=0.01)
    assert "validation holds" not in exact.notice


def test_dealing_gives_what_is_written_and_writes_nothing(kaggle_folder: Path, tmp_path: Path) -> None:
    from fastpath.ingest.split import deal
    from fastpath.workflows import pack

    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    store = open_store(tmp_path / "store")
    before = (store.path / "split.json").read_bytes()
    for kind, folds in (("random", 0), ("group", 3)):
        dealt = deal(store, kind, folds=folds, fold=1 if folds else 0, seed=9)  # type: ignore[arg-type]
        assert (store.path / "split.json").read_bytes() == before
        written = write_split(store, kind, folds=folds, fold=1 if folds else 0, seed=9)  # type: ignore[arg-type]
        np.testing.assert_array_equal(dealt.codes_N, written.codes_N)
        assert (dealt.kind, dealt.num_folds, dealt.mean_3) == (written.kind, written.num_folds, written.mean_3)
        (store.path / "split.json").write_bytes(before)


@pytest.mark.parametrize("kind", ["random", "group"])
@pytest.mark.parametrize("folds", [0, 3])
def test_a_test_share_is_kept_apart_whatever_else_is_dealt(store: Store, kind: Any, folds: int) -> None:
    dealt = [
        write_split(store, kind, test=0.2, val=val, folds=folds, fold=fold)
        for val, fold in ((0.2, 0), (0.3, 2 if folds else 0))
    ]
    test_rows = [table.rows(Split.TEST).tolist() for table in dealt]
    assert test_rows[0] == test_rows[1]
    assert len(test_rows[0]) == pytest.approx(0.2 * len(store), abs=4)
    assert len(set(store.labels_N[test_rows[0]])) == 2
    assert wrong_in_split(store) == ""
    tables = [read_split(store, fold) for fold in range(folds)] or dealt[:1]
    for table in tables:
        parts = [set(table.rows(part).tolist()) for part in Split]
        assert all(parts)
        assert sum(map(len, parts)) == len(set().union(*parts)) == len(store)
        assert parts[2] == set(test_rows[0])
        slides = [set(store.groups_N[sorted(part)]) for part in parts]
        assert kind == "random" or not (slides[0] & slides[2] or slides[1] & slides[2])
        assert bool(leak_notice(store, table, Split.TEST)) == (kind == "random")
    if folds:
        held = np.concatenate([table.rows(Split.VAL) for table in tables])
        assert sorted([*held, *test_rows[0]]) == list(range(len(store)))


def test_a_random_test_share_is_that_of_scikit_learn(store: Store) -> None:
    table, rows_N = write_split(store, "random", test=0.25, val=0.25, seed=4), np.arange(len(store))
    rest, test = train_test_split(rows_N, test_size=0.25, stratify=store.labels_N, random_state=4)
    assert set(table.rows(Split.TEST)) == set(test)
    rest = np.sort(rest)
    train, val = train_test_split(rest, test_size=1 / 3, stratify=store.labels_N[rest], random_state=4)
    assert (set(table.rows(Split.TRAIN)), set(table.rows(Split.VAL))) == (set(train), set(val))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "official", "test": 0.1}, "found a test share of 0.1, wanted PatchCamelyon's own"),
        ({"kind": "group", "test": 0.05}, "6 groups for 20 folds"),
        ({"kind": "random", "test": 0.5, "val": 0.5}, "--val, --test: found 0.5 and 0.5; leave patches"),
    ],
)
def test_a_test_share_that_cannot_be_kept_is_refused(store: Store, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_split(store, **options)


def test_shares_that_whole_slides_cannot_have_are_told(store: Store) -> None:
    division = split.split_store(store.path, kind="group", test=0.25, val=0.3)
    assert division.num_train + division.num_val + division.num_test == len(store)
    assert division.groups_train + division.groups_val + division.groups_test == 6
    assert "test holds" in division.notice
    assert division.share_test == division.num_test / len(store)


def test_a_division_without_a_test_share_is_written_as_before_there_were_any(store: Store) -> None:
    """So that older divisions still match their own checksum, which is of all keys."""
    values = json.loads((store.path / fmt.SPLIT).read_text())
    assert "test" not in values
    write_split(store, "random", test=0.25)
    assert json.loads((store.path / fmt.SPLIT).read_text())["test"] == 0.25
    assert len(read_split(store).rows(Split.TEST))
