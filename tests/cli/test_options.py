"""Every option of a command has a name that mypy sees, and `--amp` is short for a precision."""

from __future__ import annotations

import inspect

import click
import pytest
from click.testing import CliRunner

from fastpath.cli import options
from fastpath.cli.main import app


@pytest.mark.parametrize("name", app.list_commands(click.Context(app)))
def test_a_command_names_each_of_its_options(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.callback is not None
    parameters = inspect.signature(command.callback).parameters.values()
    assert {parameter.kind for parameter in parameters} <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}  # no **rest
    assert {parameter.name for parameter in parameters} - {"context"} == {
        option.name for option in command.params if option.expose_value
    }


@pytest.mark.parametrize(
    ("words", "default", "precision"),
    [
        ("", "float32", "float32"),
        ("", None, None),
        ("--amp", None, "auto"),
        ("--no-amp", "auto", "float32"),
        ("--precision float16", "float32", "float16"),
        ("--amp --precision float16", "float32", "both given"),
        ("--precision float32 --no-amp", "float32", "both given"),
    ],
)
def test_amp_is_short_for_a_precision(words: str, default: str | None, precision: str | None) -> None:
    @click.command()
    @options.precision(default)
    def command(precision: str | None) -> None:
        click.echo(str(precision))

    result = CliRunner().invoke(command, words.split())
    assert str(precision) in result.output
    assert result.exit_code == (2 if precision == "both given" else 0)
