"""Every command block of the documentation runs as it is printed, page by page in one folder, as a reader would.

`reader_folder` says what the reader has before the first line, `SMALLER` what is changed so that it takes seconds.
What needs the internet, several cards or the like is marked on the page; its options are still looked at.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from command_blocks import BLOCKS, COMMANDS, PAGES, REASONS, ROOT, TAGS, Command, marks_of
from reader_folder import GIVEN, MAKERS, TINY, prepare

from fastpath import config
from fastpath.cli.main import app
from fastpath.cli.param_types import RECIPE

SMALLER: tuple[tuple[str, str], ...] = (
    (r"^fastpath (train|sweep)\b.*", rf"\g<0> {shlex.join(TINY)}"),
    (r"^fastpath train\b.*", r"\g<0> --epochs 1"),
    (r"--config fast\b", "--config tiny.toml"),
    (r"^fastpath pack\b.*", r"\g<0> --workers 1"),
    (r"--repeats \d", "--repeats 1"),
    (r"--jobs \d", "--jobs 1"),
    (r"--folds \d", "--folds 2"),
    (r"--part \$I/64 --shard-mb 1024", "--part $I/2 --shard-mb 1"),
    (r"--(errors|sample) \d+", r"--\1 4"),
    (r"--ids \w+ \w+", "--ids {ids}"),
    (r"hf-hub:\S+|(?<=--model )resnet50", "local-dir:encoder"),
)
"""What is not run as it is printed: patterns of a command, and what stands in their place."""

_EVALUATION = r"^\d+ patches, \d+ positive; intervals by \w+\n +AUC  [01]\.\d{4}  \["
PRINTED = {"README.md": _EVALUATION, "docs/api.md": _EVALUATION}
"""What the programs of a page print."""

RUN_PAGES = sorted({block.page for block in BLOCKS if block.tag in ("sh", "python")})
SLOW = {"docs/explain.md", "docs/mining.md", "docs/patchcamelyon.md", "docs/slides.md", "docs/sweeps.md"}
"""Pages of more than ten seconds; the options in them are looked at in any case."""
_SHELL = re.compile(r"[|<>;&]|\$\(")


class Reader:
    """One who types a page's commands in order, in a folder of their own.

    Args:
        place: The folder.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def types(self, command: Command) -> str:
        """Run a command; returns what went wrong, or nothing."""
        text = command.text
        for pattern, smaller in SMALLER:
            text = re.sub(pattern, smaller, text.split("  #")[0].rstrip())
        if "{ids}" in text:
            text = text.format(ids=self._two_ids())
        jobs = [text.replace("$I", job) for job in "12"] if "$I" in text else [text]  # of two jobs, both
        return "".join(self._run(job) for job in jobs)

    def _run(self, text: str) -> str:
        if not text.startswith("fastpath ") or _SHELL.search(text):
            return self._shell(text)
        words = [name for word in shlex.split(text, comments=True) for name in sorted(self._files(word)) or [word]]
        done = CliRunner().invoke(app, words[1:])
        return "" if done.exit_code == 0 else f"{text}\n    {done.exception!r} {done.stderr[-300:]}\n"

    def programs(self, text: str, place: str) -> str:
        """Run a Python block, which knows the names of those before it; returns what it printed."""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(text, place, "exec"), self._names)
        return printed.getvalue()

    def _files(self, word: str) -> list[str]:
        return [str(path.relative_to(self._place)) for path in self._place.glob(word)] if "*" in word else []

    def _two_ids(self) -> str:
        done = CliRunner().invoke(app, ["evaluate", "RUN", "--json"])
        assert done.exit_code == 0
        import pandas as pd

        return " ".join(pd.read_parquet("RUN/evaluation-val/predictions.parquet")["id"][:2].str[:6])

    def _shell(self, text: str) -> str:
        tools = self._place / "bin"
        tools.mkdir(exist_ok=True)
        for name, call in (("fastpath", "-m fastpath"), ("python", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {call} "$@"\n')
            (tools / name).chmod(0o755)
        environment = {
            **os.environ,
            "HOME": str(self._place),
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        done = subprocess.run(["bash", "-ec", text], env=environment, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else f"{text}\n    {done.stderr[-300:]}\n"


@pytest.fixture
def made(once: Callable[[str, Callable[[Path], None]], Path]) -> Callable[[str], Path]:
    """Return what readers have, by its name in `MAKERS`; each is made once."""

    def make(kind: str) -> Path:
        return once(f"reader's {kind}", lambda folder: MAKERS[kind](folder / "it", make)) / "it"

    return make


@pytest.mark.e2e
@pytest.mark.dali
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in RUN_PAGES]
)
def test_a_page_runs_as_it_is_printed(
    page: str, made: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, page, made)
    monkeypatch.chdir(tmp_path)
    reader, wrong, printed = Reader(tmp_path), "", ""
    for block in BLOCKS:
        if block.page == page and block.tag == "python":
            printed += reader.programs(block.text, block.place)
        elif block.page == page and block.tag == "sh":
            for command in block.commands():
                problem = "" if command.reason else reader.types(command)
                wrong += f"\n{command.place}: {problem}" if problem else ""
    assert not wrong, wrong
    assert re.search(PRINTED.get(page, ""), printed)


def test_every_block_says_what_it_holds_and_every_mark_is_of_one() -> None:
    assert [f"{block.place}: '{block.tag}'" for block in BLOCKS if block.tag not in TAGS] == []
    for block in BLOCKS:
        commands = list(block.commands()) if block.tag == "sh" else []
        for reason, beginning in block.marks:
            assert reason in REASONS, f"{block.place}: '{reason}' is no reason of command_blocks.REASONS"
            spared = [command for command in commands if command.text.startswith(beginning)]
            assert spared or (block.tag == "python" and not beginning), f"{block.place}: no line begins '{beginning}'"
    marked = Counter(block.page for block in BLOCKS if block.marks)
    assert {page: marks_of(page) for page in PAGES if marks_of(page)} == marked  # none stands where it does nothing


def test_what_readers_have_is_of_pages_that_run() -> None:
    assert set(GIVEN) | set(PRINTED) | SLOW <= set(RUN_PAGES)
    for pattern, _ in SMALLER:
        assert any(re.search(pattern, command.text) for command in COMMANDS), f"nothing is like {pattern}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_options_are_those_of_today(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lite0.pth").touch()  # which the option wants to be there
    monkeypatch.chdir(tmp_path)
    words = command.words
    while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("torchrun", "docker", "echo")):
        start = words.index("fastpath") if "fastpath" in words[1:] and words[0] != "echo" else len(words)
        words = words[1:] if "=" in words[0] else words[start:]
    if words[:1] == ["make"]:
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    elif re.match(r"python (-m )?(benchmarks|tools)\b", shlex.join(words)):
        module = words[2] if words[1] == "-m" else words[1].removesuffix(".py").replace("/", ".")
        imported = importlib.import_module(module)
        known = [value for value in vars(imported).values() if isinstance(value, click.Command)]
        options = words[3:] if words[1] == "-m" else words[2:]
        assert known or (hasattr(imported, "main") and not options), f"{module} is no command"
        if known:
            known[0].make_context(module, options)
    elif words[:1] == ["fastpath"] and words[1] not in (".", ">"):
        named = app.get_command(click.Context(app), words[1])
        assert named is not None, f"no command {words[1]}"
        named.make_context(words[1], words[2:])
        for option, given in itertools.pairwise(words):
            if option in ("--set", "--grid"):
                assert given.split("=")[0] in config.keys()  # noqa: SIM118 (a function's)
            if option == "--config":
                assert given in RECIPE.names


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.tag == "toml"], ids=lambda block: block.place)
def test_settings_are_read(block: Any) -> None:
    config.parse(tomllib.loads(block.text))
