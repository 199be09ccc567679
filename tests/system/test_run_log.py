"""What is said is kept with what it is about: whole lines with their times, once, and nobody else's logging changes."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from fastpath.errors import FastpathError
from fastpath.system import run_log

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 (DEBUG|INFO|WARNING|ERROR) +(.*)")


class Records(logging.Handler):
    """Keeps what it is told."""

    def __init__(self, level: int = logging.DEBUG) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def root() -> Iterator[Records]:
    """Return what another program has attached to the root logger."""
    handler = Records()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def lines(folder: Path) -> list[tuple[str, str]]:
    """Return the level and text of each line that a log holds."""
    levels_and_texts = []
    for line in (folder / run_log.NAME).read_text(encoding="utf-8").splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        levels_and_texts.append((match[1], match[2]))
    return levels_and_texts


def test_a_run_keeps_what_is_said_and_leaves_other_loggers_as_they_were(tmp_path: Path, root: Records) -> None:
    log, above = logging.getLogger("fastpath.engine"), logging.getLogger()
    before = [(each.level, each.propagate, list(each.handlers)) for each in (run_log.LOGGER, above)]
    with run_log.kept_in(tmp_path):
        log.debug("a detail")
        log.info("an epoch")
        log.warning("a note")
    log.warning("after")
    assert lines(tmp_path) == [("DEBUG", "a detail"), ("INFO", "an epoch"), ("WARNING", "a note")]
    assert root.messages == ["a note", "after"]  # as by Python's default, which tells warnings
    assert [(each.level, each.propagate, list(each.handlers)) for each in (run_log.LOGGER, above)] == before


def test_a_program_that_asked_for_information_still_gets_it(
    tmp_path: Path, root: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log.LOGGER, "level", logging.INFO)
    run_log.LOGGER.manager._clear_cache()  # type: ignore[attr-defined]
    with run_log.kept_in(tmp_path):
        logging.getLogger("fastpath.engine").info("an epoch")
        logging.getLogger("fastpath.engine").debug("a detail")
    assert root.messages == ["an epoch"]
    run_log.LOGGER.setLevel(logging.NOTSET)


def test_the_first_directory_of_a_command_gets_all_and_others_their_part(tmp_path: Path, root: Records) -> None:
    shown = Records(logging.WARNING)
    for name in ("all", "one", "two"):
        (tmp_path / name).mkdir()
    with run_log.of_command(shown):
        run_log.LOGGER.info("begin")
        with run_log.kept_in(tmp_path / "all"):
            with run_log.kept_in(tmp_path / "one"), run_log.kept_in(tmp_path / "one"):
                run_log.LOGGER.info("first")
            with run_log.aside(), run_log.kept_in(tmp_path / "two"):
                run_log.LOGGER.warning("aside")
        run_log.LOGGER.warning("end")
    assert lines(tmp_path / "all") == [("INFO", "begin"), ("INFO", "first"), ("WARNING", "end")]
    assert lines(tmp_path / "one") == [("INFO", "first")]
    assert lines(tmp_path / "two") == [("WARNING", "aside")]
    assert shown.messages == ["end"]
    assert root.messages == []


def test_what_is_said_aside_is_told_to_nobody_above(tmp_path: Path, root: Records) -> None:
    with run_log.aside(), run_log.kept_in(tmp_path):
        run_log.LOGGER.warning("aside")
    assert lines(tmp_path) == [("WARNING", "aside")]
    assert root.messages == []
    assert run_log.LOGGER.propagate


def test_a_command_that_leaves_no_directory_leaves_no_log(tmp_path: Path) -> None:
    with run_log.of_command(Records()):
        run_log.LOGGER.info("something")
    with run_log.kept_in(tmp_path):
        pass  # nothing said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "level", "beginning", "traced"),
    [
        (FastpathError("run", "is wrong", "mend it"), "ERROR", "run: is wrong; mend it", False),
        (ZeroDivisionError("by nought"), "ERROR", "ZeroDivisionError: by nought", True),
        (RuntimeError("CUDA out of memory"), "ERROR", "the card: ran out of memory", True),
        (KeyboardInterrupt(), "WARNING", "interrupted", False),
    ],
)
@pytest.mark.parametrize("command", [False, True])
def test_how_it_failed_is_kept_once(
    error: BaseException, level: str, beginning: str, traced: bool, command: bool, tmp_path: Path, root: Records
) -> None:
    shown = Records()

    def fail() -> None:
        with run_log.of_command(shown) if command else nullcontext(), run_log.kept_in(tmp_path):
            raise error

    with pytest.raises(type(error)):
        fail()
    first, *trace = (tmp_path / run_log.NAME).read_text(encoding="utf-8").splitlines()
    match = LINE.fullmatch(first)
    assert match
    assert match[1] == level
    assert match[2].startswith(beginning)
    assert bool(trace) == traced
    assert all(line.startswith("    ") for line in trace)
    assert not traced or "raise error" in "".join(trace)
    assert shown.messages == root.messages == []  # who catches it tells it


def test_no_secret_and_no_line_break_gets_into_it(tmp_path: Path) -> None:
    try:
        raise ValueError("https://me:hunter2@host/x\n?token=hunter2")
    except ValueError:
        with run_log.kept_in(tmp_path):
            run_log.LOGGER.warning("%s", "from s3://me:hunter2@bucket/x\n2026 INFO forged")
            run_log.LOGGER.exception("failed")
    content = (tmp_path / run_log.NAME).read_text(encoding="utf-8")
    assert "hunter2" not in content
    assert "\\n2026 INFO forged" in content


def test_it_is_added_to_and_a_line_that_was_cut_short_is_ended(tmp_path: Path) -> None:
    (tmp_path / run_log.NAME).write_text("half a li")
    with run_log.kept_in(tmp_path):
        run_log.LOGGER.warning("again")
    first, second = (tmp_path / run_log.NAME).read_text(encoding="utf-8").splitlines()
    assert first == "half a li"
    assert LINE.fullmatch(second)


def test_a_link_is_not_followed_and_the_work_goes_on(tmp_path: Path, root: Records) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / run_log.NAME).symlink_to(precious)
    with run_log.kept_in(tmp_path / "run"):
        run_log.LOGGER.info("one")
        run_log.LOGGER.info("two")
    assert precious.read_text() == "kept"
    assert [text for text in root.messages if "cannot be written" in text] == root.messages
    assert len(root.messages) == 1


KILLED = """
import logging, os, signal, sys
from pathlib import Path
from fastpath.system import run_log
with run_log.kept_in(Path(sys.argv[1])):
    logging.getLogger("fastpath.x").info("the last words")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_last_words(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert lines(tmp_path) == [("INFO", "the last words")]
