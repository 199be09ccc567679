"""What is built beside a target is fastpath's own and whole; nothing of anyone else's is touched, no target lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from fastpath.errors import FastpathError, UsageError
from fastpath.store import format as fmt
from fastpath.store import place
from fastpath.store.staging import Finished, Staging, settle, stage
from fastpath.store.writer import write_shard
from fastpath.system import files

SHAPE, ROWS = (4, 4, 3), 5


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder: files with what they hold, links with where they lead."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
    }


@contextmanager
def interrupted(target: Path, plan: str = "plan", num_shards: int = 1) -> Iterator[Staging]:
    """Stage, and end the block with Ctrl-C."""
    with suppress(KeyboardInterrupt), stage(target, plan, num_shards) as staging:
        yield staging
        raise KeyboardInterrupt


def fill(staging: Staging, number: int = 0) -> None:
    """Write a shard and its record."""
    images = np.full((ROWS, *SHAPE), number, np.uint8)
    digest = write_shard(staging.store / fmt.shard_name(number), SHAPE, ROWS, [images])
    rows = np.zeros(ROWS, fmt.ROW)
    rows["position"] = np.arange(ROWS)
    staging.record(number, Finished(rows=ROWS, hash=digest, stamp="", skipped=[], notes={}), rows)


def make_store(path: Path, content: bytes = b"old") -> Path:
    path.mkdir()
    (path / fmt.MANIFEST).write_bytes(b'{\n "format": "fastpath-store"\n}\n' + content)
    (path / fmt.shard_name(0)).write_bytes(content)
    (path / fmt.SPLIT).write_bytes(content)
    return path


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a directory of somebody's": lambda root: (root.mkdir(), (root / "thesis.txt").write_text("x")),
    "of the same layout, without the mark": lambda root: (root / "store").mkdir(parents=True),
    "a file": lambda root: root.write_text("x"),
    "a link to a directory": lambda root: root.symlink_to(root.parent / "elsewhere"),
    "a dangling link": lambda root: root.symlink_to(root.parent / "nowhere"),
    "another mark": lambda root: (root.mkdir(), (root / place.MARK).write_text("mine")),
    "a directory as the mark": lambda root: (root / place.MARK).mkdir(parents=True),
    "a pipe as the mark": lambda root: (root.mkdir(), os.mkfifo(root / place.MARK)),
}
PLANTED: dict[str, Callable[[Path], object]] = {
    "a file beside the mark": lambda root: (root / "thesis.txt").write_text("x"),
    "a directory": lambda root: (root / "replaced").mkdir(),
    "a file in the store": lambda root: (root / "store" / "notes.txt").write_text("x"),
    "a directory in the store": lambda root: (root / "store" / fmt.shard_name(1)).mkdir(),
    "a link as a shard": lambda root: (root / "store" / fmt.shard_name(1)).symlink_to("/etc/passwd"),
    "a file among the records": lambda root: (root / "work" / "list.csv").write_text("x"),
    "a link as the store": lambda root: (shutil.rmtree(root / "store"), (root / "store").symlink_to(root.parent)),
    "a link as the records": lambda root: (shutil.rmtree(root / "work"), (root / "work").symlink_to(root.parent)),
    "a link as the plan": lambda root: ((root / "plan").unlink(), (root / "plan").symlink_to("/etc/passwd")),
}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_has_not_the_mark_is_not_touched(tmp_path: Path, kind: str, resume: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("x")
    FOREIGN[kind](place.root_of(tmp_path / "store"))
    before = tree(tmp_path)
    settle(tmp_path / "store")
    with (
        pytest.raises(UsageError, match=r"store\.fastpath-partial: .*move it away"),
        stage(tmp_path / "store", "plan", 1, resume=resume),
    ):
        raise AssertionError("it was taken for a staging directory")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("plan", ["plan", "other plan"])
@pytest.mark.parametrize("kind", PLANTED)
def test_what_fastpath_did_not_put_there_is_not_touched(tmp_path: Path, kind: str, plan: str) -> None:
    target = tmp_path / "store"
    with interrupted(target) as staging:
        fill(staging)
    PLANTED[kind](staging.root)
    before = tree(tmp_path)
    settle(target)
    with pytest.raises(UsageError, match="which fastpath did not put there"), stage(target, plan, 1):
        raise AssertionError("it was taken for fastpath's")
    assert tree(tmp_path) == before


def test_what_was_added_meanwhile_outlives_the_staging_directory(tmp_path: Path) -> None:
    with suppress(UsageError), stage(tmp_path / "store", "plan", 1) as staging:
        fill(staging)
        (staging.store / "notes.txt").write_text("x")
        raise UsageError("input", "wrong", "correct it")
    assert (staging.store / "notes.txt").read_text() == "x"


@pytest.mark.parametrize("made", ["", "directory", "cut mark"])
def test_a_kill_at_the_very_start_is_no_hindrance(tmp_path: Path, made: str) -> None:
    root = place.root_of(tmp_path / "store")
    if made:
        root.mkdir()
    if made == "cut mark":
        (root / place.MARK).write_bytes(b"fast")
    with stage(tmp_path / "store", "plan", 1) as staging:
        fill(staging)
        staging.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "a flipped byte": lambda shard, _: _flip(shard, 200),
    "a flipped header": lambda shard, _: _flip(shard, 60),
    "cut": lambda shard, _: os.truncate(shard, 150),
    "longer": lambda shard, _: os.truncate(shard, 4096),
    "empty": lambda shard, _: os.truncate(shard, 0),
    "missing": lambda shard, _: shard.unlink(),
    "another's": lambda shard, _: shard.write_bytes(b"\0" * shard.stat().st_size),
    "a directory": lambda shard, _: (shard.unlink(), shard.mkdir()),
    "a link to itself elsewhere": lambda shard, _: (shard.rename(shard.with_name("x")), shard.symlink_to("x")),
    "a pipe": lambda shard, _: (shard.unlink(), os.mkfifo(shard)),
    "a record cut": lambda _, record: os.truncate(record, 100),
    "a record of nothing": lambda _, record: os.truncate(record, 0),
    "a flipped record": lambda _, record: _flip(record, 40),
    "a flipped table": lambda _, record: _flip(record, record.stat().st_size - 5),
    "a record longer": lambda _, record: record.write_bytes(record.read_bytes() + b"\0"),
    "a record of no table": lambda _, record: _signed(record, record.read_bytes()[16:].partition(b"}\n")[0] + b"}\n"),
    "a record of noise": lambda _, record: _signed(record, b"\x80\x04noise"),
    "a record of fewer rows": lambda _, record: _signed(record, _fewer(record.read_bytes()[16:])),
    "no record": lambda _, record: record.unlink(),
    "a pipe as a record": lambda _, record: (record.unlink(), os.mkfifo(record)),
}


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _signed(path: Path, content: bytes) -> None:
    import xxhash

    path.write_bytes(xxhash.xxh3_128_digest(content) + content)


def _fewer(content: bytes) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.zeros(ROWS - 1, fmt.ROW))
    return content.partition(b"}\n")[0] + b"}\n" + buffer.getvalue()


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_spoilt_shard_is_not_finished(tmp_path: Path, kind: str) -> None:
    with interrupted(tmp_path / "store", num_shards=2) as staging:
        fill(staging, 0)
        fill(staging, 1)
        assert staging.finished(0) is not None
        DAMAGES[kind](staging.store / fmt.shard_name(0), staging.work / "0.record")
        assert staging.finished(0) is None
        assert staging.finished(1) is not None


def test_a_plan_of_fewer_shards_keeps_no_others(tmp_path: Path) -> None:
    with interrupted(tmp_path / "store", num_shards=3) as staging:
        for number in range(3):
            fill(staging, number)
        (staging.store / fmt.SPLIT).write_text("old")
        (staging.store / f".{fmt.shard_name(1)}.{'0' * 16}.tmp").write_text("half")
    with interrupted(tmp_path / "store", num_shards=2) as staging:
        assert sorted(path.name for path in staging.store.iterdir()) == [fmt.shard_name(0), fmt.shard_name(1)]
        assert sorted(path.name for path in staging.work.iterdir()) == ["0.record", "1.record"]


class TestApart:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "data" / "train").mkdir(parents=True)
        (tmp_path / "link").symlink_to("data")
        (tmp_path / "store.fastpath-partial" / "store").mkdir(parents=True)
        return tmp_path

    @pytest.mark.parametrize(
        ("target", "source", "match"),
        [
            ("data", "data", "lies within the source"),
            ("data/store", "data", "lies within the source"),
            ("data/train/deep/store", "data", "lies within the source"),
            ("link/store", "data", "lies within the source"),
            ("data/store", "link", "lies within the source"),
            ("data/../data/store", "link/train/..", "lies within the source"),
            ("data", "data/train", "lies within .*data, which is written"),
            ("link", "data/train", "lies within .*data, which is written"),
            ("store", "store.fastpath-partial", "lies within .*partial, which is written"),
            ("store", "store.fastpath-partial/store", "lies within .*partial, which is written"),
        ],
    )
    def test_targets_that_overlap_inputs(self, folder: Path, target: str, source: str, match: str) -> None:
        with pytest.raises(UsageError, match=match):
            place.check_apart(folder / target, [folder / "elsewhere", folder / source])

    @pytest.mark.parametrize("source", ["data", "data.partial", "stor", "store2", "s3://bucket/store", "store.partial"])
    def test_targets_apart(self, folder: Path, source: str) -> None:
        place.check_apart(folder / "store", [folder / source if "://" not in source else Path(source)])


class TestOverwriting:
    def test_a_free_name(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("free", "empty", "deep/er"):
            for overwrite in (False, True):
                assert place.vacancy(tmp_path / name, overwrite=overwrite) is None

    @pytest.mark.parametrize(
        ("spoil", "match"),
        [
            (lambda store: (store / "thesis.txt").write_text("x"), "found 'thesis.txt' in the store"),
            (lambda store: (store / "runs").mkdir(), "found 'runs' in the store"),
            (lambda store: (store / "shard-00001.npy").symlink_to("x"), "found 'shard-00001.npy' in the store"),
            (lambda store: (store / fmt.MANIFEST).write_text('{"name": "web app"}'), "found other files there"),
            (lambda store: (store / fmt.MANIFEST).unlink(), "found other files there"),
            (lambda store: ((store / fmt.MANIFEST).unlink(), os.mkfifo(store / fmt.MANIFEST)), "found other files"),
            (lambda store: (shutil.rmtree(store), store.write_text("x")), "found other files there"),
            (lambda store: (store.rename(store.with_name("it")), store.symlink_to("it")), "is a symbolic link"),
            (lambda store: (shutil.rmtree(store), store.symlink_to("nothing")), "is a symbolic link"),
        ],
    )
    def test_what_is_no_store_or_more_than_one(
        self, tmp_path: Path, spoil: Callable[[Path], object], match: str
    ) -> None:
        store = make_store(tmp_path / "store")
        spoil(store)
        before = tree(tmp_path)
        with pytest.raises(UsageError, match=match):
            place.vacancy(store, overwrite=True)
        assert tree(tmp_path) == before

    def test_a_store_with_a_killed_writer_in_it_can_be_replaced(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "store")
        for name in (f".split.json.{'a' * 16}.tmp", "split.json.tmp", "shard-00000.npy.rebuilt", "manifest.json.7.tmp"):
            (store / name).write_text("half")
        assert place.vacancy(store, overwrite=True) is not None
        with pytest.raises(UsageError, match="found a store there, wanted a free name; use --overwrite"):
            place.vacancy(store, overwrite=False)

    @pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in three renames"])
    def test_one_store_takes_the_place_of_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
    ) -> None:
        if not at_once:
            monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
        target = make_store(tmp_path / "store")
        with stage(target, "plan", 1, replaces=place.vacancy(target, overwrite=True)) as staging:
            self.build(staging)
            staging.commit(place.vacancy(target, overwrite=True))
        assert tree(tmp_path) == {"store": "", **{f"store/{name}": value for name, value in self.new().items()}}

    @pytest.mark.parametrize("renames", [0, 1, 2])
    @pytest.mark.parametrize("old", [b"old", b"new"], ids=["another store", "the same store"])
    def test_a_kill_between_the_renames_of_a_file_system_without_exchange(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int, old: bytes
    ) -> None:
        target, left = make_store(tmp_path / "store", old), renames

        def exchange(first: Path, second: Path) -> None:
            nonlocal left
            rename = Path.rename

            def count(path: Path, other: Path) -> Path:
                nonlocal left
                if not left:
                    raise KeyboardInterrupt
                left -= 1
                return rename(path, other)

            with monkeypatch.context() as patch:
                patch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
                patch.setattr(Path, "rename", count)
                files.exchange(first, second)

        replaces = place.vacancy(target, overwrite=True)
        with monkeypatch.context() as patch:
            patch.setattr("fastpath.store.staging.exchange", exchange)
            with suppress(KeyboardInterrupt), stage(target, "plan", 1, replaces=replaces) as staging:
                self.build(staging)
                staging.commit(replaces)
        settle(target)
        assert (target / fmt.SPLIT).read_bytes() == (b"new" if renames == 2 else old)
        replaces = place.vacancy(target, overwrite=True)
        with stage(target, "plan", 1, replaces=replaces) as staging:
            self.build(staging)
            staging.commit(replaces)
        assert tree(target) == self.new()
        assert [path.name for path in tmp_path.iterdir()] == ["store"]

    def test_a_target_that_another_process_wrote_meanwhile_is_kept(self, tmp_path: Path) -> None:
        target = tmp_path / "store"
        with suppress(FastpathError), stage(target, "plan", 1) as staging:
            self.build(staging)
            make_store(target)
            with pytest.raises(FastpathError, match="found a store there"):
                staging.commit()
            raise FastpathError("it", "went wrong", "try again")
        assert (target / fmt.SPLIT).read_bytes() == b"old"
        assert staging.finished(0) is not None, "what was built is lost"
        replaces = place.vacancy(target, overwrite=True)
        shutil.rmtree(target)
        make_store(tmp_path / "other").rename(target)
        with pytest.raises(UsageError, match="another process wrote"), stage(target, "plan", 1, replaces=replaces):
            raise AssertionError("another store was taken for the one that was there")
        assert (target / fmt.SPLIT).read_bytes() == b"old"

    def build(self, staging: Staging) -> None:
        fill(staging)
        for name in (fmt.MANIFEST, fmt.SPLIT):
            (staging.store / name).write_bytes(self.new()[name])

    def new(self) -> dict[str, bytes]:
        """What is in the new store."""
        header = fmt.npy_header((ROWS, *SHAPE))
        manifest = b'{\n "format": "fastpath-store"\n}\nnew'
        return {fmt.shard_name(0): header + bytes(ROWS * 48), fmt.MANIFEST: manifest, fmt.SPLIT: b"new"}


@pytest.mark.parametrize("at", [place.MARK, place.PLAN, ""])
def test_a_full_disk_is_left_as_it_was_where_nothing_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    usual = os.open

    def full(path: str | Path, flags: int, *arguments: int, **named: int) -> int:
        if at and Path(path).name.lstrip(".").startswith(at) and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return usual(path, flags, *arguments, **named)

    def opened(path: Path, mode: str = "r", *arguments: int, **named: int) -> object:
        return os.fdopen(full(path, os.O_RDWR | os.O_CREAT), mode.replace("x", "w"), *arguments, **named)

    monkeypatch.setattr(os, "open", full)
    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(FastpathError, match=r"(?i)no space (is )?left"), stage(tmp_path / "store", "plan", 1):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []
