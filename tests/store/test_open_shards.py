"""Shards are opened as they are needed, however few may be open; what changes under a reader is one line."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastpath.errors import FastpathError, IntegrityError, StoreError
from fastpath.store import format as fmt
from fastpath.store import open_shards
from fastpath.store.reader import Store, open_store
from fastpath.store.writer import Contents, write_index, write_manifest, write_shard

SIDE = 8


def write_store(folder: Path, num_shards: int) -> np.ndarray:
    """Write a store of one patch a shard and return its pixels."""
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (num_shards, SIDE, SIDE, 3), dtype=np.uint8)
    entries = []
    for number in range(num_shards):
        digest = write_shard(folder / fmt.shard_name(number), (SIDE, SIDE, 3), 1, [images[number : number + 1]])
        entries.append(fmt.ShardEntry(file=fmt.shard_name(number), rows=1, hash=digest))
    contents = Contents(
        ids=[f"p{number}" for number in range(num_shards)],
        labels_N=np.zeros(num_shards, np.int8),
        groups=None,
        shard_N=np.arange(num_shards),
        row_N=np.zeros(num_shards, np.int64),
        rows_N=np.zeros(num_shards, fmt.ROW),
    )
    about = {"patch_shape": (SIDE, SIDE, 3), "shards": entries, "flag_counts": {}, "source": {}}
    write_manifest(folder, contents, index_hash=write_index(folder / fmt.INDEX, contents), **about)  # type: ignore[arg-type]
    return images


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("many") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        return folder, write_store(folder, 1100)


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """What lowers the soft limit of open files until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda files: resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def num_open(folder: Path) -> int:
    """How many files of a folder this process holds open."""
    held = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum(folder == path.readlink().parent for path in held if path.is_symlink())


def test_more_shards_than_may_be_open_are_opened(many: tuple[Path, np.ndarray], limit: Callable[[int], None]) -> None:
    limit(1024)
    store = open_store(many[0])
    np.testing.assert_array_equal(store.gather(np.arange(1100)), many[1])
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 1024, "the soft limit is raised"


def test_where_the_limit_stays_low_shards_take_turns(
    many: tuple[Path, np.ndarray], limit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_shards, "_raise_limit", lambda _: None)
    monkeypatch.setattr(open_shards, "_allowed", lambda: 20)
    store, rows = open_store(many[0]), np.random.default_rng(1).permutation(1100)
    np.testing.assert_array_equal(store.gather(rows), many[1][rows])
    assert 1 <= num_open(many[0]) <= 20
    del store
    assert num_open(many[0]) == 0


def test_a_process_that_has_no_descriptor_left_closes_its_own(
    many: tuple[Path, np.ndarray], limit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_shards, "_raise_limit", lambda _: None)
    monkeypatch.setattr(open_shards, "_allowed", lambda: 10**6)
    store = open_store(many[0])
    _ = store.labels_N
    store.gather(np.arange(3))
    limit(len(os.listdir("/proc/self/fd")) + 40)  # noqa: PTH208
    np.testing.assert_array_equal(store.gather(np.arange(1100)), many[1])


def test_all_open_stores_share_what_may_be_open(many: tuple[Path, np.ndarray], limit: Callable[[int], None]) -> None:
    alone = open_shards._allowed()
    stores = [open_store(many[0]) for _ in range(4)]
    assert open_shards._allowed() < alone
    assert len(stores) == 4


def cut(store: Path) -> None:
    os.truncate(store / "shard-00001.npy", 130)


def rewrite(store: Path) -> None:
    with (store / "shard-00001.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\0\1\2")


def replace(store: Path) -> None:
    shutil.copytree(store, store.with_name("other"))
    shutil.rmtree(store)
    store.with_name("other").rename(store)


def swap(store: Path) -> None:
    shutil.copyfile(store / "shard-00002.npy", store / "new")
    (store / "new").replace(store / "shard-00001.npy")


CHANGES = {"cut": cut, "rewritten": rewrite, "replaced": replace, "removed": shutil.rmtree}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Store]:
    """A store of 4 shards whose files have been opened, and which looks at them every time."""
    monkeypatch.setattr(open_shards, "LOOK_S", 0.0)
    write_store(tmp_path / "store", 4)
    store = open_store(tmp_path / "store")
    store.gather(np.arange(4))
    return tmp_path / "store", store


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("read", ["gather", "framed", "sampled"])
def test_what_changes_under_a_reader_is_one_line(opened: tuple[Path, Store], change: str, read: str) -> None:
    folder, store = opened
    CHANGES[change](folder)
    framed = np.zeros((4, SIDE + 2, SIDE + 2, 3), np.uint8)[:, 1:-1, 1:-1]
    with pytest.raises(IntegrityError, match=r"(changed|gone) while the store was read") as caught:
        store.sampled(np.arange(4), slice(0, 8, 2)) if read == "sampled" else store.gather(
            np.arange(4), framed if read == "framed" else None
        )
    assert "\n" not in str(caught.value)


def test_a_cut_is_noticed_even_between_two_looks(opened: tuple[Path, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = opened
    monkeypatch.setattr(open_shards.OpenShards, "_look", lambda _: None)
    cut(folder)
    with pytest.raises(IntegrityError, match=r"shard-00001\.npy: has changed"):
        store.gather(np.arange(4))


@pytest.mark.parametrize("change", ["swapped", "rewritten"])
def test_a_shard_that_was_closed_meanwhile_is_looked_at_again(
    opened: tuple[Path, Store], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = opened
    (swap if change == "swapped" else rewrite)(folder)
    store._shards._open.clear()
    with pytest.raises(IntegrityError, match=r"shard-00001\.npy: has changed"):
        store.gather(np.arange(4))


def test_a_shard_first_opened_after_the_store_was_replaced_is_not_read(tmp_path: Path) -> None:
    write_store(tmp_path / "store", 4)
    store = open_store(tmp_path / "store")
    _ = store.labels_N
    sent = pickle.loads(pickle.dumps(store))
    replace(tmp_path / "store")
    for each in (store, sent):
        with pytest.raises(FastpathError, match="has changed"):
            each.gather(np.arange(4))


def test_an_index_that_was_written_again_is_not_read(tmp_path: Path) -> None:
    write_store(tmp_path / "store", 4)
    store = open_store(tmp_path / "store")
    content = (tmp_path / "store" / fmt.INDEX).read_bytes()
    (tmp_path / "store" / fmt.INDEX).unlink()
    (tmp_path / "store" / fmt.INDEX).write_bytes(content)
    with pytest.raises(StoreError, match=r"index\.parquet: has changed since it was opened"):
        _ = store.ids_N
