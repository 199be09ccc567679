"""Sets of files take one another's place whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpath.system.file_sets import FileSet


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _write_set(output: Path, letter: str, names: list[str]) -> None:
    with FileSet(output, "facts.json", owned=("*.png", "patches/*.png")) as made:
        for name in [*names, "facts.json"]:
            made.write(name, letter.encode())


def test_a_set_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    _write_set(tmp_path, "1", ["a.png", "b.png", "patches/x.png"])
    (tmp_path / "notes.txt").write_text("mine")
    _write_set(tmp_path, "2", ["a.png", "patches/y.png"])
    assert _names(tmp_path) == ["a.png", "facts.json", "notes.txt", "patches", "patches/y.png"]
    assert (tmp_path / "a.png").read_text() == "2"


def test_the_closing_file_may_lie_in_a_folder_of_the_set(tmp_path: Path) -> None:
    def write(letter: str, names: list[str]) -> None:
        with FileSet(tmp_path, "page/index.html", owned=("page/*.png",)) as made:
            for name in [*names, "page/index.html"]:
                made.write(name, letter.encode())

    write("1", ["table.csv", "page/a.png"])
    with pytest.raises(TypeError):
        write("2", ["table.csv", None])  # type: ignore[list-item]
    assert (tmp_path / "table.csv").read_text() == "1"
    write("3", ["table.csv", "page/b.png"])
    assert _names(tmp_path) == ["page", "page/b.png", "page/index.html", "table.csv"]
    assert (tmp_path / "table.csv").read_text() == "3"


def test_a_set_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    _write_set(tmp_path, "1", ["a.png"])
    with (
        pytest.raises(TypeError),
        FileSet(tmp_path, "facts.json", owned=("*.png",)) as made,
        made.open("a.png") as file,
    ):
        file.writelines([b"2", None])  # type: ignore[list-item]
    assert (_names(tmp_path), (tmp_path / "a.png").read_text()) == (["a.png", "facts.json"], "1")


def _kill_at(number: int) -> None:
    """Let this process kill itself before its n-th rename, removal or sync, n being `number`."""
    left = number
    for name in ("fsync", "replace", "unlink", "mkdir", "rmdir"):
        plain = getattr(os, name)

        def counted(*args: object, plain: Callable[..., object] = plain, **options: object) -> object:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*args, **options)

        setattr(os, name, counted)


def test_wherever_it_is_killed_a_set_is_old_or_new_or_without_its_closing_file(tmp_path: Path) -> None:
    """A kill before each rename, removal and sync, until the set comes to its end."""
    for number in range(1, 100, 2):  # an odd step of each pair: a step costs a process
        output = tmp_path / str(number)
        _write_set(output, "1", ["a.png", "b.png"])
        pid = os.fork()
        if pid == 0:
            try:
                _kill_at(number)
                _write_set(output, "2", ["a.png", "c.png"])
                os._exit(0)
            finally:  # whatever is raised, this process never returns into the suite
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        assert not os.WIFEXITED(status) or status == 0, number
        ended = status == 0
        seen = {path.name: path.read_text() for path in output.iterdir() if path.is_file()}
        old = {"a.png": "1", "b.png": "1", "facts.json": "1"}
        new = {"a.png": "2", "c.png": "2", "facts.json": "2"}
        assert "facts.json" not in seen or seen in (old, new), number
        _write_set(output, "3", ["d.png"])
        assert _names(output) == ["d.png", "facts.json"], number
        if ended:
            assert seen == new
            break
    else:
        pytest.fail("it never came to its end")
    assert number > 10
