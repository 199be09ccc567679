"""A store behind a URL reads like one on disk; what is fetched is checked and kept."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastpath.config import parse
from fastpath.errors import DataError, FastpathError, IntegrityError, StoreError, UsageError
from fastpath.ingest.split import write_split
from fastpath.runs.trained import open_run
from fastpath.runtime import Runtime
from fastpath.store import format as fmt
from fastpath.store import remote, transfer
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.train import train
from fastpath.workflows.verify import verify

fsspec = pytest.importorskip("fsspec", reason="the remote extra is not installed")


@pytest.fixture
def local(kaggle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store on disk and its copy at memory://bucket/store, with a cache of its own."""
    monkeypatch.setenv("FASTPATH_CACHE", str(tmp_path / "cache"))
    pack.pack_source(kaggle_folder, tmp_path / "store", pack.PackOptions(shard_bytes=1 << 20), workers=1)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in (tmp_path / "store").iterdir():
        memory.pipe_file(f"/bucket/store/{path.name}", path.read_bytes())
    return tmp_path / "store"


def test_a_store_behind_a_url_reads_like_one_on_disk(local: Path, tmp_path: Path) -> None:
    ours, theirs = open_store(local), open_store("memory://bucket/store")
    rows = np.array([95, 0, 50, 0])
    np.testing.assert_array_equal(theirs.gather(rows), ours.gather(rows))
    assert theirs.ids_N.tolist() == ours.ids_N.tolist()
    assert read_split(theirs).rows(Split.VAL).tolist() == read_split(ours).rows(Split.VAL).tolist()
    assert theirs.fingerprint == ours.fingerprint
    assert open_store(Path("memory://bucket/store")).fingerprint == ours.fingerprint, "Path makes one slash of two"
    kept = sorted(path.name for path in (tmp_path / "cache").rglob("*.npy"))
    assert kept == ["shard-00000.npy", "shard-00001.npy", "shard-00002.npy"], "only what was read is fetched"


@pytest.mark.dali
def test_training_reads_a_store_behind_a_url_as_one_on_disk(local: Path, tmp_path: Path, server: Any) -> None:
    data = {"image_size_px": 32, "batch_size": 16}
    model = {"name": "baseline_cnn", "pretrained": False, "trainable": "all"}
    config = parse({"data": data, "model": model, "train": {"epochs": 1}})
    runtime = Runtime(torch.device("cpu"), num_threads=1)
    server.files.update({path.name: path.read_bytes() for path in local.iterdir()})
    train.train_run(local, tmp_path / "ours", config, runtime)
    train.train_run(Path(server.url), tmp_path / "theirs", config, runtime)
    ours, theirs = ((tmp_path / name / "journal.jsonl").read_bytes() for name in ("ours", "theirs"))
    assert ours == theirs

    wanted, place = open_store(local).fingerprint, f"http://{server.host}/store"
    assert json.loads((tmp_path / "theirs" / "run.json").read_text())["store"] == place
    assert not any(b"SECRET" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    trained, asked = open_run(tmp_path / "theirs"), sum(server.asked.values())
    assert trained.open_store().fingerprint == wanted
    assert sum(server.asked.values()) == asked, "all of it lies in the cache"
    shutil.rmtree(tmp_path / "cache" / "stores")
    assert trained.open_store().fingerprint == wanted, "fetched again from where it was trained"
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(
        UsageError,
        match=rf"run\.json: names a store behind a URL .*{place}.*--store, or run once: fastpath verify {place}",
    ):
        trained.open_store()
    assert trained.open_store(Path(server.url)).fingerprint == wanted


def test_what_is_kept_is_not_fetched_again(local: Path) -> None:
    theirs = open_store("memory://bucket/store")
    first = theirs.gather(np.arange(5))
    fsspec.filesystem("memory").rm("/bucket/store/shard-00000.npy")
    np.testing.assert_array_equal(open_store("memory://bucket/store").gather(np.arange(5)), first)


def test_a_cached_file_that_has_changed_is_fetched_again(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, memory = np.arange(96), fsspec.filesystem("memory")
    wanted = open_store(local).gather(rows)
    theirs = open_store("memory://bucket/store")
    theirs.gather(rows)
    for name in ("shard-00001.npy", "index.parquet"):
        content = bytearray((theirs.path / name).read_bytes())
        content[-1] ^= 1  # of the same size
        (theirs.path / name).write_bytes(content)
    monkeypatch.setattr(remote, "_proven", set())  # as in a process of its own
    again = open_store("memory://bucket/store")
    np.testing.assert_array_equal(again.gather(rows), wanted)
    assert again.ids_N.tolist() == open_store(local).ids_N.tolist()
    for name in ("shard-00001.npy", "index.parquet"):
        assert (theirs.path / name).read_bytes() == (local / name).read_bytes()
    memory.rm("/bucket/store/shard-00001.npy")
    (theirs.path / "shard-00001.npy").write_bytes(bytes(content))
    monkeypatch.setattr(remote, "_proven", set())
    with pytest.raises(StoreError, match=r"shard-00001\.npy"):
        open_store("memory://bucket/store").gather(rows)


def test_a_process_hashes_each_cached_file_once(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store("memory://bucket/store").gather(np.arange(96))
    monkeypatch.setattr(remote, "_proven", set())
    hashed: list[str] = []
    hash_file = fmt.hash_file
    monkeypatch.setattr(fmt, "hash_file", lambda path: hashed.append(path.name) or hash_file(path))
    for _ in range(3):
        open_store("memory://bucket/store").gather(np.arange(96))
    names = [entry.file for entry in open_store(local).manifest.shards]
    assert sorted(name for name in hashed if name != fmt.INDEX) == names


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_shard_that_is_not_the_manifests_is_refused(local: Path, tmp_path: Path, spoil: object) -> None:
    content = (local / "shard-00001.npy").read_bytes()
    fsspec.filesystem("memory").pipe_file("/bucket/store/shard-00001.npy", spoil(content))  # type: ignore[operator]
    theirs = open_store("memory://bucket/store")
    with pytest.raises(IntegrityError, match=r"memory://bucket/store/shard-00001\.npy: found"):
        theirs.gather(np.arange(96))
    assert not list((tmp_path / "cache").rglob("shard-00001.npy*"))


def test_what_cannot_be_done_with_a_url(local: Path) -> None:
    with pytest.raises(StoreError, match=r"manifest\.json"):
        open_store("memory://bucket/absent")
    with pytest.raises(UsageError, match="cannot be opened"):
        open_store("nosuch://bucket/store")
    with pytest.raises(StoreError, match="divide it where it lies"):
        write_split(open_store("memory://bucket/store"))


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (PermissionError("no, SIG: sig=SECRET"), "access is refused", 2),
        (FileNotFoundError("nothing"), "was not found", 2),
        (TimeoutError("too long"), r"cannot be reached .* in 2 attempts", 1),
        (ConnectionResetError("gone"), r"cannot be reached .* in 2 attempts", 1),
        (OSError(5, "Input/output error"), "cannot be read", 1),
        (RuntimeError("two\nlines of https://u:SECRET@host/x"), "cannot be read", 1),
        (None, r"silent or too slow .* in 2 attempts", 1),
    ],
    ids=str,
)
def test_what_another_file_system_raises_is_one_line(
    error: Exception | None, message: str, status: int, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def fail(*_: object, **__: object) -> None:
        if error is None:
            over.wait(5)
        raise error or TimeoutError

    patience = transfer.Patience(connect_s=0.1, silence_s=0.1, attempts=2, pause_s=0.01)
    monkeypatch.setattr(transfer, "PATIENCE", patience)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "open", fail)
    with pytest.raises(FastpathError, match=message) as caught:
        open_store("memory://bucket/store")
    over.set()
    assert caught.value.exit_status == status
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_folder_behind_a_url_is_a_source(kaggle_folder: Path, local: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for path in kaggle_folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/set/{path.relative_to(kaggle_folder)}", path.read_bytes())
    source = Path("memory://bucket/set")
    pack.pack_source(source, tmp_path / "again", pack.PackOptions(shard_bytes=1 << 20), workers=1)
    for path in local.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert verify.verify_store(local, source=source, workers=1).damages == []
    pack.pack_source(source / "test", tmp_path / "test", workers=1)
    assert len(open_store(tmp_path / "test")) == 8
    first = open_store(local).ids_N[0]
    memory.pipe_file(f"/bucket/set/train/{first}.tif", b"II*")
    with pytest.raises(DataError, match=rf"memory://bucket/set/train/{first}\.tif: "):
        pack.pack_source(source, tmp_path / "bad", workers=1)
    with pytest.raises(DataError, match=r"found no patches|cannot be listed"):
        pack.pack_source(Path("memory://bucket/absent"), tmp_path / "bad", workers=1)


def test_a_resumed_pack_of_a_url_reads_again_what_has_changed(
    kaggle_folder: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, source = fsspec.filesystem("memory"), Path("memory://bucket/set")
    for path in kaggle_folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/set/{path.relative_to(kaggle_folder)}", path.read_bytes())
    ids, small = open_store(local).ids_N, pack.PackOptions(shard_bytes=1 << 20)
    last = memory.cat_file(f"/bucket/set/train/{ids[-1]}.tif")
    memory.pipe_file(f"/bucket/set/train/{ids[-1]}.tif", b"II*")
    with pytest.raises(DataError):
        pack.pack_source(source, tmp_path / "out", small, workers=1, resume=True)
    memory.pipe_file(f"/bucket/set/train/{ids[-1]}.tif", last)
    memory.pipe_file(f"/bucket/set/train/{ids[0]}.tif", last)  # of the same size
    packed = pack.pack_source(source, tmp_path / "out", small, workers=1, resume=True)
    assert packed.num_shards == 3
    assert packed.num_resumed == 37, "of two finished shards, the one that has not changed"
    pixels = open_store(tmp_path / "out").gather(np.array([0, 95]))
    np.testing.assert_array_equal(pixels[0], pixels[1])
