"""The cache stays within its limit: what was used longest ago goes first, what a process uses never."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastpath.errors import UsageError
from fastpath.store import cache_limit
from fastpath.store.reader import open_store
from fastpath.workflows import pack

HOLDING = """
import sys
from pathlib import Path
from fastpath.store.cache_limit import hold
hold(Path(sys.argv[1]))
print(flush=True)
input()
"""
NAMES = [letter * 32 for letter in "abc"]


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three stores of 1 MB each, used in the order of their names."""
    monkeypatch.setattr(cache_limit, "_held", {})
    for at, name in enumerate(NAMES):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shard-00000.npy").write_bytes(bytes(10**6))
        (tmp_path / name / "manifest.json").touch()
        os.utime(tmp_path / name, (at, at))
    (tmp_path / "not-a-store").mkdir()
    return tmp_path


def left(stores: Path) -> list[str]:
    return sorted(path.name for path in stores.iterdir() if path.name in NAMES)


@pytest.mark.parametrize(
    ("limit", "wanted_bytes", "kept"),
    [
        ("", 10**9, NAMES),
        ("0.003", 0, NAMES),
        ("0.003", 1, NAMES[1:]),
        ("0.003", 10**6 + 1, NAMES[2:]),
        ("0.000001", 0, []),
    ],
)
def test_what_was_used_longest_ago_makes_room(
    stores: Path, monkeypatch: pytest.MonkeyPatch, limit: str, wanted_bytes: int, kept: list[str]
) -> None:
    monkeypatch.setenv(cache_limit.LIMIT_VARIABLE, limit)
    cache_limit.make_room(stores, wanted_bytes)
    assert left(stores) == kept
    assert (stores / "not-a-store").is_dir()


def test_what_another_process_uses_stays_until_it_ends(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_limit.LIMIT_VARIABLE, "0.000001")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(stores / NAMES[1])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        cache_limit.make_room(stores, 0)
        assert left(stores) == [NAMES[1]]
        other.kill()
        other.wait()
        cache_limit.make_room(stores, 0)
    assert left(stores) == []


def test_use_makes_a_store_the_last_to_go_and_one_that_was_removed_is_made_again(
    stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_limit.hold(stores / NAMES[0])
    for descriptor in cache_limit._held.values():
        os.close(descriptor)  # as the end of its process does
    cache_limit._held.clear()
    monkeypatch.setenv(cache_limit.LIMIT_VARIABLE, "0.001")
    cache_limit.make_room(stores, 0)
    assert left(stores) == NAMES[:1]
    cache_limit.hold(stores / NAMES[2])
    assert (stores / NAMES[2]).is_dir()
    cache_limit.make_room(stores, 10**6)
    assert left(stores) == [NAMES[2]]


@pytest.mark.parametrize("limit", ["much", "0", "-1", "nan"])
def test_a_limit_that_is_none_is_one_line(stores: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv(cache_limit.LIMIT_VARIABLE, limit)
    with pytest.raises(UsageError, match=rf"FASTPATH_CACHE_GB: found '{limit}', wanted a size in GB above 0"):
        cache_limit.make_room(stores, 0)
    assert left(stores) == NAMES


def test_a_store_that_is_opened_makes_room_for_itself(
    kaggle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the remote extra is not installed")
    monkeypatch.setattr(cache_limit, "_held", {})
    monkeypatch.setenv("FASTPATH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(cache_limit.LIMIT_VARIABLE, "0.003")  # a store has 2.7 MB
    memory = fsspec.filesystem("memory")
    for name, size in (("one", 1 << 20), ("two", 1 << 21)):
        pack.pack_source(kaggle_folder, tmp_path / name, pack.PackOptions(shard_bytes=size), workers=1)
        for path in (tmp_path / name).iterdir():
            memory.pipe_file(f"/limited/{name}/{path.name}", path.read_bytes())
    first = open_store("memory://limited/one").gather(np.arange(96))
    (kept,) = (tmp_path / "cache" / "stores").iterdir()
    np.testing.assert_array_equal(open_store("memory://limited/two").gather(np.arange(96)), first)
    assert kept.exists()  # this process has both open, so the cache is larger than its limit
    for descriptor in cache_limit._held.values():
        os.close(descriptor)
    cache_limit._held.clear()
    np.testing.assert_array_equal(open_store("memory://limited/two").gather(np.arange(96)), first)
    assert kept.exists()  # nothing was fetched
    shutil.rmtree(kept.parent / next(path.name for path in kept.parent.iterdir() if path != kept))
    np.testing.assert_array_equal(open_store("memory://limited/two").gather(np.arange(96)), first)
    assert not kept.exists()
