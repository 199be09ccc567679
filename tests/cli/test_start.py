"""How a command starts and ends: signals at any moment, output that nobody reads, terminals that can do little."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpath.cli import main as entry
from fastpath.cli import start

ROOT = Path(__file__).resolve().parent.parent.parent
FASTPATH = [sys.executable, "-m", "fastpath"]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}

# A command whose import, or whose work, waits until it is interrupted: where is told on standard output.
WAITS = """
import importlib, importlib.abc, os, sys, time
from fastpath.cli import start

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "rich.console":
            try:
                print("waiting", flush=True)
                time.sleep(60)
            except BaseException:  # as packages do
                raise ImportError("something went wrong") from None
        return None

if "import" in sys.argv[1]:
    sys.meta_path.insert(0, Slow())
else:
    from fastpath.workflows.verify import verify
    def run(*_, **__):
        print("waiting", flush=True)
        time.sleep(60)
    verify.verify_store = run
sys.argv[1:] = ["verify", "."]
start.main()
"""


def test_pictures_are_drawn_whatever_backend_the_environment_names() -> None:
    """A kernel of Jupyter names its own for all that it starts, and matplotlib refuses one that is not installed."""
    code = "from fastpath.cli import main, start; main.main = lambda: __import__('matplotlib'); start.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": "module://absent.backend"},
        capture_output=True,
        text=True,
    )
    assert "absent" not in done.stderr, done.stderr


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("while_it", ["imports", "works"])
def test_a_signal_is_one_line(number: signal.Signals, while_it: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, while_it],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has its children ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        stderr = process.stderr.read()
    assert process.returncode == STATUS[number]
    assert stderr == "fastpath: interrupted\n"


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {number: signal.getsignal(number) for number in STATUS}
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
        start.listen()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == usual[signal.SIGTERM]
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = command.replace("fastpath", f"{sys.executable} -m fastpath")
    variables = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=variables, timeout=120)


def test_a_reader_that_leaves_is_no_error() -> None:
    done = _shell("fastpath --help | true; echo ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")  # true may leave before or after all is printed


def test_a_full_device_is_one_line() -> None:
    done = _shell("fastpath --help >/dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "fastpath: this machine: a read or write failed: no space is left on the disk; make room, then run it again\n"
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_descriptors_are_taken(closed: str, tmp_path: Path) -> None:
    code = (
        "import os, sys; from fastpath.cli import outlets; outlets.occupy();"
        f"number = os.open({str(tmp_path / 'shard')!r}, os.O_CREAT | os.O_WRONLY); sys.exit(number)"
    )
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" {closed}'], check=False, timeout=60)
    assert done.returncode > 2  # what is printed never goes into a shard


@pytest.mark.parametrize(
    ("stdout", "reader_left"), [("closed pipe", True), ("open pipe", False), ("file", False)], ids=str
)
def test_another_broken_pipe_is_an_error(
    stdout: str, reader_left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastpath.cli import outlets

    reading, writing = os.pipe()
    if stdout == "closed pipe":
        os.close(reading)
    elif stdout == "file":
        os.close(writing)
        writing = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert outlets.reader_left(BrokenPipeError(32, "Broken pipe")) == reader_left


@pytest.mark.parametrize(
    "environment",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}, {"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "1"}],
    ids=str,
)
def test_terminals_that_can_do_little(environment: dict[str, str], tmp_path: Path) -> None:
    done = _shell(f"fastpath split {tmp_path}/Ä", **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (start.StoppedError(signal.SIGTERM), "interrupted", 143),
        (
            PermissionError(13, "Permission denied", "/data/a\nb"),
            "/data/a\\nb: cannot be read or written: permission",
            2,
        ),
        (OSError(28, "No space left on device"), "this machine: a read or write failed: no space is left", 1),
        (RuntimeError("two\nlines \x1b[31m"), "RuntimeError: two lines \\x1b[31m; run again with --debug", 1),
    ],
)
def test_what_nobody_foresaw_is_one_line(
    error: BaseException,
    message: str,
    status: int,
    say: Callable[[BaseException], tuple[object, str]],
) -> None:
    code, shown = say(error)
    assert code == status
    assert shown.startswith(f"fastpath: {message}")
    assert shown.count("\n") == 1


def test_help_is_what_no_command_gets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["fastpath"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: fastpath")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert f"_FASTPATH_COMPLETE={shell}_source fastpath" in page
    done = _shell("fastpath", _FASTPATH_COMPLETE=f"{shell}_source")
    assert done.returncode == 0
    assert f"_FASTPATH_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("fastpath tr", {"train"}),
        ("fastpath train --residency d", {"device"}),
        ("fastpath train store --config fast", {"fast", "fast_lite0"}),
        ("fastpath sweep store --grid-file w", {"weight_decay"}),
    ],
)
def test_words_are_completed(words: str, wanted: set[str]) -> None:
    count = str(len(words.split()) - 1)
    done = _shell("fastpath", _FASTPATH_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    offered = {line.partition(",")[2] for line in done.stdout.splitlines() if line.startswith("plain,")}
    assert offered == wanted
