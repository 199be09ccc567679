"""Every number that a command takes is finite and within bounds, whatever is typed."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from fastpath.cli.commands.predict import _weights
from fastpath.cli.main import app
from fastpath.cli.param_types import COUNT_MAX, Count, Number


def numbers() -> list[tuple[str, click.Parameter]]:
    context = click.Context(app)
    numeric_parameters = []
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        assert command is not None
        numeric_parameters += [
            (f"{name} {parameter.name}", parameter)
            for parameter in command.params
            if isinstance(parameter.type, click.types.FloatParamType | click.types.IntParamType)
            and parameter.name != "verbosity"  # flags
        ]
    return numeric_parameters


@pytest.mark.parametrize(("name", "parameter"), numbers(), ids=[name for name, _ in numbers()])
def test_every_number_is_finite_and_bounded(name: str, parameter: click.Parameter) -> None:
    kind = parameter.type
    if isinstance(kind, click.types.FloatParamType):
        assert isinstance(kind, Number), name
    else:
        assert isinstance(kind, click.IntRange), name
    assert kind.min is not None, name
    assert kind.max is not None, name
    for text in ("nan", "inf", "-inf", "-1", "1e400", "9" * 30, "1e", ""):
        with pytest.raises(click.BadParameter):
            kind.convert(text, parameter, None)


def test_a_count_ends_where_32_bits_do() -> None:
    kind = Count(1)
    assert kind.convert(str(COUNT_MAX), None, None) == COUNT_MAX
    with pytest.raises(click.BadParameter):
        kind.convert(str(COUNT_MAX + 1), None, None)


@pytest.mark.parametrize("text", ["nan", "1,inf", "1,-1", "1,,2", "", "a"])
def test_weights_of_runs_are_finite_and_not_negative(text: str) -> None:
    with pytest.raises(click.BadParameter, match="numbers from 0 on"):
        _weights(click.Context(app), click.Option(["--weights"]), text)


@pytest.mark.parametrize("option", ["--prevalence", "--miss-cost"])
def test_a_number_that_is_none_is_refused_in_one_line(option: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "run", option, "nan"])
    assert result.exit_code == 2
    assert "nan is not a finite number" in result.output
