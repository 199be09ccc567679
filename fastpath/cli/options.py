"""Options that several commands share, so that they read and behave alike everywhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import click

from fastpath.cli import inputs, param_types, render
from fastpath.cli.help import Section, option_meant
from fastpath.system import run_log

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_WORDS = "fastpath.words"  # of a context's `meta`: the command line


class Command(click.Command):
    """A command that refuses an option given twice, of which click would silently take the last.

    Attributes:
        section: Where help lists it.
    """

    section: Section = "use"

    def summary(self) -> str:
        """Return the first sentence of its help, whole."""
        return " ".join((self.help or "").partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, unless an option that takes one value was given several."""
        try:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        except click.NoSuchOption as error:
            name = error.option_name
            raise click.UsageError(f"No such option '{name}'.{option_meant(name, self)}", ctx) from None
        for parameter, times in Counter(order).items():
            if isinstance(parameter, click.Option) and times > 1 and not _may_repeat(parameter):
                names = "/".join((*parameter.opts, *parameter.secondary_opts))
                raise click.UsageError(f"{names} was given {times} times; give it once.", ctx)
        given = {parameter.name: parameter for parameter in order}
        for parameter in order:  # -q and -v, which set one value
            other = given[parameter.name]
            if other is not parameter and not (isinstance(parameter, click.Option) and parameter.multiple):
                raise click.UsageError(f"{parameter.opts[-1]} and {other.opts[-1]} were both given; give one.", ctx)
        ctx.meta[_WORDS] = ("fastpath", ctx.info_name, *args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (as click's)
        """Run the command, unless what it is to read is not there: told before seconds of imports.

        Raises:
            UsageError: See `inputs.check_inputs`.
        """
        reads = (each for each in self.params if isinstance(each.type, param_types.UserPath) and each.type.reads)
        inputs.check_inputs(ctx.info_name, ctx.params, [each.name for each in reads if each.name])
        with run_log.of_command(render.Terminal(ctx.params.get("verbosity") or 0)):
            render.begin(ctx.meta.get(_WORDS, ()))
            began_s = time.monotonic()
            try:
                return super().invoke(ctx)
            except click.exceptions.Exit as ended:  # is no failure
                left = ended
            finally:
                render.detail(f"{ctx.info_name}: {time.monotonic() - began_s:.1f} s")
        raise left


def _may_repeat(option: click.Option) -> bool:
    return option.multiple or (option.is_flag and not option.secondary_opts)


def command(name: str, section: Section = "use") -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command of this name, which help lists in a section."""

    def decorate(function: Callable[..., Any]) -> Command:
        made: Command = click.command(name=name, cls=Command)(function)
        made.section = section
        return made

    return decorate


_AMP = f"{__name__}.amp"  # in a context's meta
PRECISIONS = ("auto", "bfloat16", "float16", "float32")  # of runtime.PrecisionChoice, which help must not import


def _verbosity(value: int) -> dict[str, Any]:
    # Before click 8.3 a flag that shares its name with another has no default but None.
    return {"flag_value": value, "type": int, "callback": lambda context, parameter, result: result or 0}


_DEBUG = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
_QUIET = click.option("-q", "--quiet", "verbosity", help="Show only warnings and errors.", **_verbosity(-1))
_VERBOSE = click.option("-v", "--verbose", "verbosity", help="Tell what is read and written, too.", **_verbosity(1))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, `-v`, `-q` and `--debug`. Passes `as_json: bool` and `verbosity: int` to the command."""
    return _JSON(_VERBOSE(_QUIET(_DEBUG(function))))


def answers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` and `--debug`, for a command that says nothing but its answer. Passes `as_json: bool`."""
    return _JSON(_DEBUG(function))


def seed(default: int | None = None) -> Decorator:
    """Add `--seed`; with no default, None means the configuration's."""
    return click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=default, show_default=default is not None)


def device() -> Decorator:
    """Add `--device auto|cpu|cuda|cuda:N`."""
    return click.option(
        "--device", type=param_types.Device(), default="auto", show_default=True, help="Where to compute."
    )


def precision(default: str | None = "float32", text: str = "no-amp") -> Decorator:
    """Add `--precision` and, for short, `--amp/--no-amp`: `precision: str | None`.

    Args:
        default: What is passed where neither is given.
        text: How help tells it, in terms of `--amp`.
    """

    def keep(context: click.Context, _parameter: click.Parameter, amp: bool | None) -> None:
        context.meta[_AMP] = amp

    def decide(context: click.Context, _parameter: click.Parameter, precision: str | None) -> str | None:
        amp: bool | None = context.meta[_AMP]
        if amp is not None and precision is not None:
            raise click.UsageError("--amp and --precision were both given; give one of them.")
        return precision or (default if amp is None else "auto" if amp else "float32")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        kinds, short = click.Choice(PRECISIONS), f"Short for --precision auto|float32.  [default: {text}]"
        function = click.option("--precision", type=kinds, callback=decide, help="What products are computed in.")(
            function
        )
        # Eager: read before --precision, into which it goes.
        return click.option(
            "--amp/--no-amp", default=None, is_eager=True, expose_value=False, callback=keep, help=short
        )(function)

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


def config(
    help_text: str = "A recipe by name, a TOML file, or a run whose settings are used again. Default: the defaults.",
) -> Decorator:
    """Add `--config`: `config_path: Path | None`."""
    return click.option("--config", "config_path", type=param_types.RECIPE, metavar="NAME|FILE|RUN", help=help_text)


def overrides(help_text: str = "Change one setting; may be repeated.") -> Decorator:
    """Add `--set`: `overrides: tuple[str, ...]`."""
    return click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=help_text)


def store_argument() -> Decorator:
    """Add the `STORE` argument: `store: Path`."""
    return click.argument("store", type=param_types.PATH)


def split_file(default: str = "the store's own") -> Decorator:
    """Add `--split-file FILE`: `split_file: Path | None`."""
    help_text = f"The split to use, written by 'fastpath split -o'. Default: {default}."
    return click.option("--split-file", type=param_types.PATH, metavar="FILE", help=help_text)


def follow_symlinks() -> Decorator:
    """Add `--follow-symlinks DIR`: `follow: tuple[Path, ...]`."""
    help_text = (
        "Follow symbolic links of the source into this folder. May be repeated. Default: only within the source."
    )
    return click.option(
        "--follow-symlinks", "follow", type=param_types.PATH, metavar="DIR", multiple=True, help=help_text
    )


def output(help_text: str, *, required: bool = True) -> Decorator:
    """Add `-o/--output`: `output: Path | None`."""
    return click.option("-o", "--output", type=param_types.OUTPUT, required=required, help=help_text)
