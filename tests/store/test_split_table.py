"""A store as a value: its patches one by one, its parts, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastpath
from fastpath.errors import StoreError, UsageError
from fastpath.ingest import synth
from fastpath.ingest.split import write_split
from fastpath.store.reader import Store
from fastpath.workflows.pack import pack_source


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("opened")
    synth.write_kaggle_folder(folder / "files", num_train=20, num_test=0, num_slides=4)
    pack_source(folder / "files", folder / "store", workers=1)
    return fastpath.open_store(str(folder / "store"))


def test_a_row_is_a_patch(store: Store) -> None:
    patch = store[3]
    assert patch.pixels_HWC.shape == (96, 96, 3)
    np.testing.assert_array_equal(patch.pixels_HWC, store.gather(np.array([3]))[0])
    assert (patch.id, patch.label) == (store.ids_N[3], store.labels_N[3])
    assert store[-1].id == store.ids_N[-1]
    assert len(list(store)) == len(store) == 20
    for row in (20, -21):
        with pytest.raises(IndexError, match=f"row {row} of a store of 20"):
            store[row]


def test_it_tells_what_it_is(store: Store) -> None:
    assert repr(store).startswith("Store('")
    assert "20 patches of 96 px" in repr(store)
    assert store.fingerprint[:8] in repr(store)
    assert repr(store[0]).startswith(f"Patch(id='{store.ids_N[0]}', label={store.labels_N[0]}")


def test_its_parts_are_samples(store: Store, tmp_path: Path) -> None:
    divided = store.with_split(tmp_path / "split.json")
    with pytest.raises(StoreError, match="found no file"):
        divided.split("train")
    table = write_split(divided, "random", folds=4, seed=1)
    train, val = divided.split("train"), divided.split("val")
    assert sorted([*train.rows_N, *val.rows_N]) == list(range(20))
    assert train.stats == val.stats == fastpath.ChannelStats(table.mean_3, table.std_3)
    np.testing.assert_array_equal(train.labels_N, store.labels_N[train.rows_N])
    assert set(divided.split("val", fold=2).rows_N).isdisjoint(val.rows_N)
    assert f"Samples({len(train)} patches of 96 px" in repr(train)
    reopened = fastpath.open_store(str(store.path), split_file=str(tmp_path / "split.json"))
    np.testing.assert_array_equal(reopened.split("val").rows_N, val.rows_N)
    with pytest.raises(UsageError, match="found 'validation', wanted train, val or test"):
        divided.split("validation")
