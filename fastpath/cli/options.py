"""Options that several commands share, so that they read and behave alike everywhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PATH = click.Path(path_type=Path)
PRECISIONS = ("auto", "bfloat16", "float16", "float32")  # of runtime.PrecisionChoice, which help must not import


class Device(click.ParamType):  # type: ignore[type-arg] # generic since click 8.2, and 8.1 will do
    """The processor, the first card, or a card by its number."""

    name = "auto|cpu|cuda|cuda:N"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, unless it names no device."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self.fail(f"'{value}' is not one of auto, cpu, cuda or, for one of several cards, cuda:N.", param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return how help names it."""
        return f"[{self.name}]"


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, `-v`, `-q` and `--debug`. Passes `as_json: bool` and `verbosity: int` to the command."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
        click.option("-q", "--quiet", "verbosity", help="No progress, only results.", **_verbosity(-1)),
        click.option("-v", "--verbose", "verbosity", help="Say more.", **_verbosity(1)),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."),
    ):
        function = option(function)
    return function


def _verbosity(value: int) -> dict[str, Any]:
    # Before click 8.3 a flag that shares its name with another has no default but None.
    return {"flag_value": value, "type": int, "callback": lambda context, parameter, found: found or 0}


def seed(default: int | None = None) -> Decorator:
    """Add `--seed`; with no default, None means the configuration's."""
    return click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=default, show_default=default is not None)


def device() -> Decorator:
    """Add `--device auto|cpu|cuda|cuda:N`."""
    return click.option("--device", type=Device(), default="auto", show_default=True, help="Where to compute.")


def precision(default: str | None = "float32", told: str = "no-amp") -> Decorator:
    """Add `--precision` and, for short, `--amp/--no-amp`. Passes `precision: str | None` to the command.

    Args:
        default: What is passed where neither is given.
        told: How help tells it, in terms of `--amp`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(*arguments: Any, amp: bool | None, precision: str | None, **named: Any) -> Any:  # noqa: ANN401
            if amp is not None and precision is not None:
                raise click.UsageError("--amp and --precision were both given; give one of them.")
            short = default if amp is None else "auto" if amp else "float32"
            return function(*arguments, precision=precision or short, **named)

        for option in (
            click.option("--precision", type=click.Choice(PRECISIONS), help="What products are computed in."),
            click.option(
                "--amp/--no-amp", default=None, help=f"Short for --precision auto|float32.  [default: {told}]"
            ),
        ):
            command = option(command)
        return command

    return decorate


def checkpoint() -> Decorator:
    """Add `--checkpoint best|last`."""
    kinds = click.Choice(["best", "last"])
    help_text = "Weights of the epoch with the best validation AUC, or of the last."
    return click.option("--checkpoint", type=kinds, default="best", show_default=True, help=help_text)


def tta(help_text: str) -> Decorator:
    """Add `--tta none|d4`."""
    kinds = click.Choice(["none", "d4"])
    return click.option("--tta", type=kinds, default="none", show_default=True, help=help_text)


def mean() -> Decorator:
    """Add `--mean logits|probabilities`: of views."""
    kinds = click.Choice(["logits", "probabilities"])
    help_text = "What is averaged over views."
    return click.option("--mean", type=kinds, default="logits", show_default=True, help=help_text)


def store_argument() -> Decorator:
    """Add the `STORE` argument: `store: Path`."""
    return click.argument("store", type=PATH)


def output(help_text: str, *, required: bool = True) -> Decorator:
    """Add `-o/--output`: `output: Path | None`."""
    return click.option("-o", "--output", type=PATH, required=required, help=help_text)
