"""The command line's surface: what is there, how it fails, and that asking for help is cheap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fastpath.cli import options
from fastpath.cli.main import app

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = app.list_commands(click.Context(app))


def fastpath(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastpath", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_asking_for_help_imports_neither_torch_nor_dali_nor_pandas() -> None:
    code = (
        "import sys, click\n"
        "from fastpath.cli.main import app\n"
        "context = click.Context(app)\n"
        "for name in app.list_commands(context):\n"
        "    app.get_command(context, name).get_help(context)\n"
        "print(sorted({'torch', 'nvidia.dali', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_commands_that_others_rely_on_are_there() -> None:
    assert {"demo", "doctor", "evaluate", "pack", "predict", "split", "train", "verify"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_the_common_options(name: str) -> None:
    context = click.Context(app)
    command = app.get_command(context, name)
    assert command is not None
    text = command.get_help(click.Context(command, info_name=name))
    assert f"fastpath {name}" in text
    talks = name not in ("config", "models")  # whose answer is all they say
    for option, has in (("--json", True), ("--debug", True), ("--quiet", talks), ("--verbose", talks)):
        assert (option in text) == has, option


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["trian"], "No such command 'trian'"),
        (["pack"], "Missing argument"),
        (["train", "nowhere", "-o", "run", "--device", "tpu"], "'tpu'"),
        (["evaluate", ".", "--amp", "--precision", "bfloat16"], "give one of them"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_status_2(arguments: list[str], phrase: str, tmp_path: Path) -> None:
    done = fastpath(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("fastpath: ")
    assert phrase in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_store_that_is_not_one_is_named(tmp_path: Path) -> None:
    done = fastpath("verify", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"fastpath: {tmp_path}")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = fastpath("verify", str(tmp_path), "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/render_cli.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("arguments", "verbosity"), [([], 0), (["-q"], -1), (["-v"], 1), (["--verbose"], 1)])
def test_verbosity_is_a_number_whatever_is_given(arguments: list[str], verbosity: int) -> None:
    @click.command()
    @options.common
    def command(**parameters: object) -> None:
        click.echo(parameters["verbosity"])

    assert CliRunner().invoke(command, arguments).output == f"{verbosity}\n"
