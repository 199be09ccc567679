"""What Arrow reads of an index, and in which thread."""

from __future__ import annotations

import io
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from fastpath.errors import FastpathError
from fastpath.ingest.sources import columns
from fastpath.store import index
from fastpath.store.reader import open_store


class _Watched(io.FileIO):
    """A file that remembers which threads use it."""

    threads: set[int]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.threads = set()

    def read(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(-1 if size is None else size)

    def readinto(self, buffer: Any, /) -> int:
        self.threads.add(threading.get_ident())
        return super().readinto(buffer) or 0


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[_Watched]:
    """What is opened from now on, for indexes and for tables of labels."""
    opened = []

    def open_watched(path: Path, *, follow: bool, kind: type[FastpathError]) -> _Watched:
        opened.append(_Watched(path))
        return opened[-1]

    for module in (index, columns):
        monkeypatch.setattr(module, "open_regular", open_watched)
    return opened


def test_no_thread_of_arrows_holds_a_python_file(small_store: Path, tmp_path: Path, watched: list[_Watched]) -> None:
    """One that lets go of it as Python ends aborts the process, after everything was done."""
    store = open_store(small_store)
    assert len(store.labels_N) == len(store.ids_N)
    labels = tmp_path / "labels.parquet"
    shutil.copy(small_store / "index.parquet", labels)
    assert columns.read_columns(labels, ("id", "label", "group")).cells["id"]
    assert len(watched) >= 3
    assert {thread for file in watched for thread in file.threads} == {threading.get_ident()}
