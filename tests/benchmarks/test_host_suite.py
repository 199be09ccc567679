"""The host suite runs, and its record holds what is promised of the calling thread."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch

from benchmarks import harness
from benchmarks.suites import host
from fastpath.data import ahead
from fastpath.runtime import Runtime
from fastpath.store.reader import open_store
from fastpath.workflows import pack


@pytest.mark.dali
def test_the_suite_measures_every_part_before_and_now(
    kaggle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(ahead, "CHUNK", 32)
    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    store = open_store(tmp_path / "store")
    microseconds = host.measure(store, 8, 2, Runtime(torch.device("cpu"), num_threads=1), positions=200, turn=16)
    assert {len(values) for values in microseconds.values()} == {2}
    assert all(value > 0 for values in microseconds.values() for value in values)
    table = host.table_of({"8": microseconds})
    assert len(table.splitlines()) == 2 + 5


def test_the_record_holds_the_bounds() -> None:
    (path,) = harness.RECORDS.glob("host_*.json")
    microseconds = json.loads(path.read_text(encoding="utf-8"))["results"]["64"]
    median = {name: statistics.median(values) for name, values in microseconds.items()}
    assert median["feed, before"] >= 10 * median["feed, now"]
    assert median["feed, now"] + median["batch, now"] <= 5.0
