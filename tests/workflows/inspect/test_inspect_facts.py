"""What `inspect` says of stores that are unlike those this version packs, and in which words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from fastpath.ingest.split import SplitKind, write_split
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.workflows import pack
from fastpath.workflows.inspect import inspect_facts as facts


@pytest.fixture(scope="module")
def store_path(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def _bare(**columns: Any) -> Any:
    index = pd.DataFrame({"id": ["a", "b", "c", "d"]} | columns)
    labels_N = np.array([0, 1, 1, -1], dtype=np.int8)
    return SimpleNamespace(index=index, ids_N=index["id"].to_numpy(object), labels_N=labels_N, groups_N=None)


def test_an_index_without_a_column_has_nothing_to_tell_of_it() -> None:
    parts_N = np.array(["train"] * 4, dtype=object)
    assert facts.flags(_bare()) is None
    assert facts.duplicates(_bare(), parts_N) is None
    assert facts.slides(_bare(), parts_N) is None
    flagged = facts.flags(_bare(flags=[0, 16, 16 + 4, 1 << 20]))  # a flag of a newer version counts, and has no name
    assert flagged is not None
    assert flagged["flagged"] == 3
    assert flagged["by_flag"]["white"]["ids"] == ["b", "c"]
    assert flagged["by_flag"]["constant"]["positive"] == 1


def test_sets_of_duplicates_that_harm_come_first() -> None:
    store = _bare(hash=[b"x", b"y", b"y", b"x"])
    duplicates = facts.duplicates(store, np.array(["train", "train", "val", "train"], dtype=object))
    assert duplicates is not None
    assert (
        duplicates["sets"],
        duplicates["patches"],
        duplicates["straddling_sets"],
        duplicates["conflicting_sets"],
    ) == (2, 4, 1, 0)
    assert [duplicate_set["ids"] for duplicate_set in duplicates["listed"]] == [["b", "c"], ["a", "d"]]


def test_statistics_of_a_class_are_exact(store_path: Path) -> None:
    store = open_store(store_path)
    channels = facts.channels(store, read_split(store))
    positive = store.gather(np.flatnonzero(store.labels_N == 1)).reshape(-1, 3) / 255
    np.testing.assert_allclose(channels["positive"]["mean"], positive.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(channels["positive"]["std"], positive.std(axis=0), atol=1e-9)
    assert list(channels) == ["all", "train", "negative", "positive", "notebook"]


def test_a_random_split_leaks_and_one_by_slide_does_not(store_path: Path) -> None:
    store = open_store(store_path)
    random = facts.split(store, write_split(store, "random"))
    assert "this split leaks" in random["leak"]
    assert random["parts"]["train"]["slides"] == 6
    whole = facts.split(store, write_split(store, "group"))
    assert whole["leak"] == ""
    assert whole["parts"]["train"]["slides"] + whole["parts"]["val"]["slides"] == 6


def test_stains_of_blank_patches_are_none_and_others_are_summarised() -> None:
    assert facts.stains(np.full((3, 2, 3), np.nan)) is None
    some = np.full((3, 2, 3), np.nan)
    some[1] = [[0.6, 0.7, 0.4], [0.1, 0.9, 0.4]]
    stains = facts.stains(some)
    assert stains is not None
    assert (stains["sampled"], stains["estimated"]) == (3, 1)
    assert stains["haematoxylin"]["median"] == [0.6, 0.7, 0.4]


def test_every_kind_of_division_has_words() -> None:
    assert set(facts.DIVIDED) == set(get_args(SplitKind))
