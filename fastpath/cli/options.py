"""Options that several commands share, so that they read and behave alike everywhere."""

from __future__ import annotations

import errno
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import fastpath
from fastpath.cli import inputs, render
from fastpath.cli.help import Section, option_meant
from fastpath.system import run_log
from fastpath.urls import as_url, located

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

COUNT_MAX = 2**31 - 1
THREADS = click.IntRange(1, 1024)
_WORDS = "fastpath.words"  # of a context's `meta`: the command line
_NAME_BYTES, _PATH_BYTES = 255, 4095  # Linux, of a name and of a path


class UserPath(click.Path):
    """A path that a file system can hold, whether or not it does, a `file:` URL of one, or any other URL.

    Args:
        urls: Whether another URL will do: only where something is read.

    Attributes:
        reads: Whether it has to be there before the command begins.
    """

    name = "path"

    def __init__(self, *, urls: bool) -> None:
        super().__init__()
        self._urls = self.reads = urls

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, unless no file system can hold it; a URL survives as one, see `urls.as_url`."""
        text = str(value)
        problem = _not_a_path(text)
        if problem:
            self.fail(problem, param, ctx)
        path = located(text)
        if not self._urls and as_url(path) is not None:
            self.fail("is a URL, wanted a path on this machine: write here, then copy it there.", param, ctx)
        return path


class Recipe(UserPath):
    """The name of a recipe that ships with fastpath, or the path of a file, or of a run whose settings are used again.

    A recipe wins over a file of its name in the working directory: write `./NAME` for that.

    Args:
        folder: Of the package's recipes, in which names are looked up.
    """

    def __init__(self, folder: str = "") -> None:
        super().__init__(urls=True)
        self._folder, self.reads = folder, False  # `config.load` looks, and knows what else was meant

    @property
    def names(self) -> list[str]:
        """The recipes that can be named."""
        return sorted(path.stem for path in self._place.glob("*.toml"))

    @property
    def _place(self) -> Path:
        return Path(fastpath.__file__).resolve().parent / "recipes" / self._folder

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the file of the recipe named, or the path."""
        if str(value) in self.names:
            return self._place / f"{value}.toml"
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the recipes that begin so, and files."""
        named = [CompletionItem(name) for name in self.names if name.startswith(incomplete)]
        return [*named, *super().shell_complete(ctx, param, incomplete)]


def _not_a_path(text: str) -> str:
    """Return what is wrong with a path, whatever it is to be; empty where nothing is."""
    if not text.strip():
        return "found an empty path; give a name."
    if "\0" in text:
        return f"found a NUL in '{text}'; give a path without it."
    if "://" in text:
        return ""
    size = len(os.fsencode(text))
    if size > _PATH_BYTES or max(len(os.fsencode(part)) for part in text.split("/")) > _NAME_BYTES:
        limits = f"wanted names of at most {_NAME_BYTES} and a path of at most {_PATH_BYTES} bytes"
        return f"found a path of {size} bytes, {limits}; give a shorter one."
    try:
        Path(text).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:  # which versions of pathlib answer in different ways
            return f"found a loop of symbolic links at '{text}'; give the file itself."
    return ""


class Number(click.FloatRange):
    """A finite number of a range: NaN is below and above nothing, so that a range alone lets it pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Return the number, unless it is NaN, infinite or out of range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Count(click.IntRange):
    """A whole number of a range, which ends where 32 bits do unless it says otherwise."""

    def __init__(self, min: int, max: int = COUNT_MAX) -> None:
        super().__init__(min, max)

    def _describe_range(self) -> str:
        """Return how help tells it: an end that nobody comes near is not worth a word."""
        return super()._describe_range() if self.max != COUNT_MAX else f"x>={self.min}"


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
        reads = (each for each in self.params if isinstance(each.type, UserPath) and each.type.reads)
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


PATH, OUTPUT = UserPath(urls=True), UserPath(urls=False)
RECIPE, GRID = Recipe(), Recipe("sweeps")
_AMP = f"{__name__}.amp"  # in a context's meta
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
    return click.option("--device", type=Device(), default="auto", show_default=True, help="Where to compute.")


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
    return click.option("--config", "config_path", type=RECIPE, metavar="NAME|FILE|RUN", help=help_text)


def overrides(help_text: str = "Change one setting; may be repeated.") -> Decorator:
    """Add `--set`: `overrides: tuple[str, ...]`."""
    return click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=help_text)


def store_argument() -> Decorator:
    """Add the `STORE` argument: `store: Path`."""
    return click.argument("store", type=PATH)


def split_file(default: str = "the store's own") -> Decorator:
    """Add `--split-file FILE`: `split_file: Path | None`."""
    help_text = f"The split to use, written by 'fastpath split -o'. Default: {default}."
    return click.option("--split-file", type=PATH, metavar="FILE", help=help_text)


def follow_symlinks() -> Decorator:
    """Add `--follow-symlinks DIR`: `follow: tuple[Path, ...]`."""
    help_text = (
        "Follow symbolic links of the source into this folder. May be repeated. Default: only within the source."
    )
    return click.option("--follow-symlinks", "follow", type=PATH, metavar="DIR", multiple=True, help=help_text)


def output(help_text: str, *, required: bool = True) -> Decorator:
    """Add `-o/--output`: `output: Path | None`."""
    return click.option("-o", "--output", type=OUTPUT, required=required, help=help_text)
