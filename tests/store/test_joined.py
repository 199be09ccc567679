"""Stores read as one give each its own patches, whatever the order asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpath.ingest.synth import write_kaggle_folder
from fastpath.store.joined import JoinedStore
from fastpath.store.reader import Store, open_store
from fastpath.workflows import pack


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    folder = tmp_path_factory.mktemp("joined")
    for seed, count in enumerate((7, 4)):
        write_kaggle_folder(folder / f"source{seed}", num_train=count, num_test=0, num_slides=2, seed=seed)
        pack.pack_source(folder / f"source{seed}", folder / f"store{seed}", workers=1)
    return [open_store(folder / f"store{seed}") for seed in range(2)]


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 10), max_size=30))
def test_rows_come_from_the_store_they_count_into(stores: list[Store], rows: list[int]) -> None:
    joined = JoinedStore(stores, np.zeros(11, np.int8))
    both = np.concatenate([store.gather(np.arange(len(store))) for store in stores])
    np.testing.assert_array_equal(joined.gather(np.array(rows, np.int64)), both[rows])
    framed = np.zeros((len(rows), 98, 98, 3), np.uint8)
    joined.gather(np.array(rows, np.int64), framed[:, 1:-1, 1:-1])
    np.testing.assert_array_equal(framed[:, 1:-1, 1:-1], both[rows])


def test_labels_are_those_given_and_ids_those_of_the_stores(stores: list[Store]) -> None:
    joined = JoinedStore(stores, np.arange(11, dtype=np.int8))
    assert joined.labels_N.tolist() == list(range(11))
    assert joined.ids_N.tolist() == [*stores[0].ids_N, *stores[1].ids_N]
    assert joined.patch_size_px == 96
