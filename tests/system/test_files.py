"""Files are put in place whole; what is no regular file is not read."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpath.errors import DataError, FastpathError, UsageError
from fastpath.system import files
from fastpath.system.files import durably, exchange, read_regular, write_durably


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_is_replaced_whole_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_durably(path, b"old")
    with pytest.raises(TypeError), durably(path) as file:
        file.writelines([b"half of the ne", None])  # type: ignore[list-item]
    assert (path.read_bytes(), _names(tmp_path)) == (b"old", ["a.json"])
    write_durably(path, b"new")
    assert (path.read_bytes(), _names(tmp_path)) == (b"new", ["a.json"])


def test_a_link_at_the_name_is_replaced_and_what_it_names_is_left_alone(tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "a").symlink_to(victim)
    write_durably(tmp_path / "a", b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "a").is_symlink()


def test_a_link_planted_under_a_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (victim := tmp_path / "victim").write_bytes(b"precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)
    monkeypatch.setattr(files, "clear_temporaries", lambda _: None)
    files.temporary_name(tmp_path / "a").symlink_to(victim)
    with pytest.raises(UsageError, match="something of that name exists"):
        write_durably(tmp_path / "a", b"new")
    assert victim.read_bytes() == b"precious"


def test_two_writers_of_one_name_do_not_tear_it(tmp_path: Path) -> None:
    path, wrong = tmp_path / "a", []
    contents = [bytes([letter]) * 50_000 for letter in b"ab"]
    write_durably(path, contents[0])
    ended = threading.Event()

    def write(content: bytes) -> None:
        for _ in range(30):
            write_durably(path, content)

    def read() -> None:
        while not ended.is_set():
            if path.read_bytes() not in contents:
                wrong.append(True)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert not wrong
    assert _names(tmp_path) == ["a"]


def _killed(work: Callable[[], object]) -> None:
    """Run something in a process that is expected to kill itself."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_what_a_killed_writer_left_goes_and_a_living_writers_stays(tmp_path: Path) -> None:
    def die() -> None:
        with durably(tmp_path / "a"):
            os.kill(os.getpid(), signal.SIGKILL)

    _killed(die)
    assert len(_names(tmp_path)) == 1
    write_durably(tmp_path / "b", b"")
    assert len(_names(tmp_path)) == 2, "another file's leftovers are not this one's to clear"
    with durably(tmp_path / "a") as file:
        write_durably(tmp_path / "a", b"quick")
        file.write(b"slow")
    assert (_names(tmp_path), (tmp_path / "a").read_bytes()) == (["a", "b"], b"slow")


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ENOSPC, FastpathError, "no space is left on the disk, and what it held before is kept; make room"),
        (errno.EDQUOT, FastpathError, "quota"),
        (errno.EIO, FastpathError, "input/output error"),
        (errno.EROFS, UsageError, "read-only.*; choose another place"),
        (errno.EACCES, UsageError, "permission is denied"),
    ],
)
def test_what_the_file_system_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[FastpathError], words: str
) -> None:
    write_durably(tmp_path / "a", b"old")

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match=words) as caught:
        write_durably(tmp_path / "a", b"new")
    assert type(caught.value) is kind
    assert str(tmp_path / "a: cannot be written") in str(caught.value)
    assert ((tmp_path / "a").read_bytes(), _names(tmp_path)) == (b"old", ["a"])


def test_an_error_of_another_file_within_the_block_is_not_called_this_ones(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), durably(tmp_path / "a"):
        (tmp_path / "missing").read_bytes()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix_socket:
        unix_socket.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (Path.mkdir, "is a directory"),
        (_fifo, "is a pipe, wanted a regular file"),
        (_socket, "socket"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device|symbolic link"),
        (lambda path: path.symlink_to(path), "loop"),
    ],
)
@pytest.mark.parametrize("follow", [True, False])
def test_only_regular_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], words: str, follow: bool
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short or refused
    make(tmp_path / "a")
    with pytest.raises(DataError, match=words):
        read_regular(tmp_path / "a", bytes_max=100, follow=follow, kind=DataError)


def test_links_are_read_where_a_person_named_them_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", bytes_max=5, follow=True) == b"12345"
    with pytest.raises(UsageError, match="symbolic link"):
        read_regular(tmp_path / "link", bytes_max=5, follow=False)
    with pytest.raises(UsageError, match="has 5 bytes, wanted at most 4"):
        read_regular(tmp_path / "link", bytes_max=4, follow=True)


@pytest.mark.parametrize("at_once", [True, False])
def test_two_directories_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "of").write_text(name)
    if not at_once:
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "of").read_text() for name in "ab"] == ["b", "a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")
