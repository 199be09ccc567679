"""Kills, full disks, vanishing files, two packers: nothing half-written is ever a store, nothing finished is lost."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastpath.errors import DataError, FastpathError, IntegrityError, UsageError
from fastpath.ingest.formats import decode
from fastpath.store import place, staging
from fastpath.store.reader import open_store
from fastpath.workflows import merge, pack
from fastpath.workflows.verify import verify

pytestmark = pytest.mark.e2e
SMALL = pack.PackOptions(shard_bytes=6 * 768)


def labelled(source: Path) -> pack.PackOptions:
    """What packs `train/` of a source as another one, with the same labels."""
    return replace(SMALL, labels=source / "train_labels.csv")


def make_source(folder: Path, count: int) -> Path:
    (folder / "train").mkdir(parents=True)
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "TIFF")
    blank, rng = buffer.getvalue(), np.random.default_rng(count)
    start = len(blank) - 768  # Pillow puts the one strip last
    for number in range(count):
        pixels = rng.integers(1, 256, 768, dtype=np.uint8).tobytes()
        (folder / "train" / f"p{number:05}.tif").write_bytes(blank[:start] + pixels)
    rows = "".join(f"p{number:05},{number % 2}\n" for number in range(count))
    (folder / "train_labels.csv").write_text("id,label\n" + rows)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("faults") / "source", 120)


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("reference") / "store"
    pack.pack_source(source, store, SMALL, workers=1)
    return contents(store)


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def finished_shards(store: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every shard that is recorded as finished."""
    partial = staging.Staging(store)
    numbers = [path.stem for path in partial.work.glob("*.record")] if partial.work.exists() else []
    paths = [partial.store / f"shard-{int(number):05}.npy" for number in numbers]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths if path.exists()}


def test_fifty_kills(source: Path, reference: dict[str, bytes], tmp_path: Path) -> None:
    context, dice = multiprocessing.get_context("fork"), random.Random(0)
    store, kills = tmp_path / "store", 0
    started = time.monotonic()
    pack.pack_source(source, tmp_path / "timing", SMALL, workers=1)
    duration = time.monotonic() - started
    while kills < 50:
        child = context.Process(
            target=pack.pack_source, args=(source, store, SMALL), kwargs={"workers": 1, "resume": True}
        )
        before = finished_shards(store)
        child.start()
        child.join(dice.uniform(0, duration / 2))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        if store.exists():
            assert contents(store) == reference
            with pytest.raises(UsageError, match="found a store there"):
                pack.pack_source(source, store, SMALL, workers=1, resume=True)
            assert not (tmp_path / "store.fastpath-partial").exists()
            shutil.rmtree(store)
            continue
        after = finished_shards(store)
        assert before.items() <= after.items(), "a finished shard was packed again"
    if not store.exists():
        pack.pack_source(source, store, SMALL, workers=1, resume=True)
    assert contents(store) == reference
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "timing"]


def test_a_kill_after_the_store_has_its_name_leaves_it_whole(
    source: Path, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, "clear", die)  # the last step of all
        with pytest.raises(KeyboardInterrupt):
            pack.pack_source(source, tmp_path / "store", SMALL, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store.fastpath-partial"]
    with pytest.raises(UsageError, match="found a store there"):
        pack.pack_source(source, tmp_path / "store", SMALL, workers=1, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert contents(tmp_path / "store") == reference


def start(*arguments: object) -> subprocess.Popen[str]:
    def hear_interrupts() -> None:
        # A shell that runs the tests in the background has its children ignore SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command, pipe = [sys.executable, "-m", "fastpath", *map(str, arguments)], subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, preexec_fn=hear_interrupts
    )


@pytest.fixture(scope="module")
def long_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough patches to be interrupted while they are packed."""
    return make_source(tmp_path_factory.mktemp("long") / "source", 3000)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_command_goes_on_where_it_was(
    long_source: Path, tmp_path: Path, signal_number: signal.Signals
) -> None:
    store, partial = tmp_path / "store", tmp_path / "store.fastpath-partial"
    command = ("pack", long_source, "-o", store, "--shard-mb", "1", "--workers", "2", "--resume", "--json")
    process = start(*command)
    while not list(partial.glob("work/*.record")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal_number) if signal_number == signal.SIGINT else process.send_signal(signal_number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal_number)
    assert not store.exists()
    again = start(*command)
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert json.loads(output)["resumed"] >= 1365
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert verify.verify_store(store, workers=1).damages == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, writable."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_foreseen(source: Path, small_disk: Path) -> None:
    with pytest.raises(UsageError, match="MB free, wanted"):
        pack.pack_source(source, small_disk / "store", SMALL, workers=1)
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_leaves_what_was_finished(
    source: Path, small_disk: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_check_space", lambda *_: None)
    with pytest.raises(FastpathError, match=r"no space is left.*--resume") as caught:
        pack.pack_source(source, small_disk / "store", SMALL, workers=1)
    assert caught.value.exit_status == 1
    assert [path.name for path in small_disk.iterdir()] == ["store.fastpath-partial"]
    before = finished_shards(small_disk / "store")
    assert before
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    pack.pack_source(source, small_disk / "store", SMALL, workers=1, resume=True)
    assert contents(small_disk / "store") == reference
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (small_disk / "store").iterdir()} | (
        before
    ) == {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (small_disk / "store").iterdir()}


def test_a_target_that_cannot_be_written(source: Path, small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UsageError, match="cannot be written"):
        pack.pack_source(source, small_disk / "store", SMALL, workers=1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="file is no directory; choose another -o"):
        pack.pack_source(source, tmp_path / "file" / "store", SMALL, workers=1)


def test_a_file_that_changes_while_it_is_packed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "source"
    shutil.copytree(source, folder)

    def meddled(read: Callable[..., Any]) -> Callable[..., Any]:
        def meddle(descriptor: int, *arguments: Any) -> Any:
            content = read(descriptor, *arguments)
            path = Path(f"/proc/self/fd/{descriptor}").resolve()
            if path.name == "p00033.tif":
                path.write_bytes(path.read_bytes()[::-1])
            return content

        return meddle

    for name in ("read", "readv"):  # the general way and the straight one
        monkeypatch.setattr(decode.os, name, meddled(getattr(os, name)))
    with pytest.raises(DataError, match=r"p00033\.tif: changed while it was being read"):
        pack.pack_source(folder, tmp_path / "store", SMALL, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_file_that_vanishes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    check = pack._check_space

    def vanish(*arguments: object) -> None:
        check(*arguments)  # type: ignore[arg-type]
        (folder / "train" / "p00050.tif").unlink()

    monkeypatch.setattr(pack, "_check_space", vanish)
    with pytest.raises(DataError, match=r"p00050\.tif: cannot be read"):
        pack.pack_source(folder, tmp_path / "store", SMALL, workers=1)


def test_a_resumed_pack_reads_again_what_has_changed(source: Path, tmp_path: Path) -> None:
    folder, store = tmp_path / "source", tmp_path / "store"
    shutil.copytree(source, folder)
    (folder / "train" / "p00119.tif").rename(tmp_path / "aside.tif")
    (folder / "train" / "p00119.tif").write_bytes(b"broken")
    with pytest.raises(DataError):
        pack.pack_source(folder, store, SMALL, workers=1, resume=True)
    assert len(finished_shards(store)) == 19
    (tmp_path / "aside.tif").rename(folder / "train" / "p00119.tif")
    Image.new("RGB", (16, 16), (1, 2, 3)).save(folder / "train" / "p00001.tif")
    packed = pack.pack_source(folder, store, SMALL, workers=1, resume=True)
    assert packed.num_resumed == 108
    assert (open_store(store).gather(np.array([1])) == [1, 2, 3]).all()


def test_two_packers_of_one_target(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "LOCK_PATIENCE_S", 0.1)
    with (
        staging.stage(tmp_path / "store", "some plan", 1),
        pytest.raises(UsageError, match="is being packed by another process"),
    ):
        pack.pack_source(source, tmp_path / "store", SMALL, workers=1)


def test_resume_refuses_another_plan(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging.stage(tmp_path / "store", "some plan", 1):
        raise RuntimeError
    with pytest.raises(UsageError, match="unfinished pack of another source"):
        pack.pack_source(source, tmp_path / "store", SMALL, workers=1, resume=True)
    pack.pack_source(source, tmp_path / "store", SMALL, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_bytes_do_not_depend_on_the_workers(
    source: Path, reference: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    pack.pack_source(source, tmp_path / "store", SMALL, workers=workers)
    assert contents(tmp_path / "store") == reference


def test_overwriting_replaces_whole_stores_only(source: Path, reference: dict[str, bytes], tmp_path: Path) -> None:
    store = tmp_path / "store"
    pack.pack_source(source / "train", store, labelled(source), workers=1)
    with pytest.raises(UsageError, match="found a store there"):
        pack.pack_source(source, store, SMALL, workers=1)
    pack.pack_source(source, store, SMALL, workers=1, overwrite=True)
    assert contents(store) == reference
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="found other files there"):
        pack.pack_source(source, tmp_path / "mine", SMALL, workers=1, overwrite=True)
    with pytest.raises(UsageError, match="lies within the source"):
        pack.pack_source(source, source / "store", SMALL, workers=1)


def test_a_source_named_like_a_staging_directory_is_kept(
    source: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    """Neither `data.partial` packed to `data` nor an unrelated directory beside the target is fastpath's to remove."""
    shutil.copytree(source, tmp_path / "data.partial")
    (tmp_path / "merged.partial").mkdir()
    (tmp_path / "merged.partial" / "thesis.txt").write_text("x")
    pack.pack_source(tmp_path / "data.partial", tmp_path / "data", SMALL, workers=1)
    assert contents(tmp_path / "data") == reference
    assert len(list((tmp_path / "data.partial" / "train").iterdir())) == 120
    merge.merge_stores([tmp_path / "data"], tmp_path / "merged")
    assert (tmp_path / "merged.partial" / "thesis.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.partial", "merged", "merged.partial"]


def test_no_room_keeps_what_is_finished(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"

    def stop(done: int, _total: int) -> None:
        if done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack.pack_source(source, store, SMALL, workers=1, advance=stop)
    before = finished_shards(store)
    assert len(before) == 10
    for resume in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(staging.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 0))
            with pytest.raises(UsageError, match="found 0 MB free"):
                pack.pack_source(source, store, SMALL, workers=1, resume=resume)
        assert finished_shards(store) == before
    assert pack.pack_source(source, store, SMALL, workers=1).num_resumed == 60


def test_wrong_input_keeps_what_an_earlier_run_finished(source: Path, tmp_path: Path) -> None:
    folder, store = tmp_path / "source", tmp_path / "store"
    shutil.copytree(source, folder)
    good = (folder / "train" / "p00119.tif").read_bytes()
    (folder / "train" / "p00119.tif").write_bytes(b"broken")
    with pytest.raises(DataError):
        pack.pack_source(folder, store, SMALL, workers=1, resume=True)
    before = finished_shards(store)
    with pytest.raises(DataError):
        pack.pack_source(folder, store, SMALL, workers=1)
    assert finished_shards(store) == before
    (folder / "train" / "p00119.tif").write_bytes(good)
    assert pack.pack_source(folder, store, SMALL, workers=1).num_resumed == 114
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "store"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_second_of_two_packs_of_one_target_is_refused(source: Path, tmp_path: Path, overwrite: bool) -> None:
    """The second has looked at the target before the first took it, and gets the lock after it."""
    store = tmp_path / "store"
    if overwrite:
        pack.pack_source(source / "train", store, labelled(source), workers=1)
    first: list[dict[str, bytes]] = []

    def between(plan: str) -> None:
        pack.pack_source(source, store, SMALL, workers=1, overwrite=overwrite)
        first.append(contents(store))

    usual = pack._plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "_plan", lambda *arguments: (patch.undo(), between("first"), usual(*arguments))[-1])
        with pytest.raises(UsageError, match=r"found a store there|another process wrote"):
            pack.pack_source(source / "train", store, labelled(source), workers=1, overwrite=overwrite)
    assert [contents(store)] == first
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_bad_input_after_a_kill_in_the_clearing_up_costs_nothing(
    source: Path, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, left = tmp_path / "store", 30

    def die(path: Path, missing_ok: bool = False, usual: Callable[..., None] = Path.unlink) -> None:
        nonlocal left
        left -= place.SUFFIX in str(path)
        if not left:
            raise KeyboardInterrupt
        usual(path, missing_ok)

    pack.pack_source(source / "train", store, labelled(source), workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            pack.pack_source(source, store, SMALL, workers=1, overwrite=True)
    assert contents(store) == reference
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.tif").write_bytes(b"broken")
    with pytest.raises(DataError):
        pack.pack_source(tmp_path / "bad", store, SMALL, workers=1, overwrite=True)
    assert contents(store) == reference
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "store"]


def test_a_merge_goes_on_after_a_kill_and_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, merged = tmp_path / "first", tmp_path / "merged"
    copied: list[str] = []
    pack.pack_source(source, first, SMALL, workers=1)
    for damaged in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(merge, "write_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                merge.merge_stores([first], merged)
        partial = staging.Staging(merged)
        if damaged:
            (partial.store / "shard-00003.npy").write_bytes(b"")
        copied.clear()
        with monkeypatch.context() as patch:
            patch.setattr(
                merge,
                "_copy",
                lambda *arguments, usual=merge._copy: (copied.append(arguments[2].name), usual(*arguments)),
            )
            merge.merge_stores([first], merged)
        assert copied == (["shard-00003.npy"] if damaged else [])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "merged"]
        assert verify.verify_store(merged, workers=1).damages == []
        shutil.rmtree(merged)
    (first / "shard-00002.npy").write_bytes((first / "shard-00003.npy").read_bytes())
    with pytest.raises(IntegrityError, match="found other bytes"):
        merge.merge_stores([first], merged)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize("output", ["first", "first/merged", "second/shard-00000.npy", "merged/../first"])
def test_a_merge_into_its_own_stores_is_refused(source: Path, tmp_path: Path, output: str) -> None:
    for name in ("first", "second"):
        pack.pack_source(source, tmp_path / name, SMALL, workers=1)
    before = contents(tmp_path / "first") | contents(tmp_path / "second")
    with pytest.raises(UsageError, match="lies within the source"):
        merge.merge_stores([tmp_path / "first", tmp_path / "second"], tmp_path / output)
    assert contents(tmp_path / "first") | contents(tmp_path / "second") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
