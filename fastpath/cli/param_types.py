"""What values of options and arguments may be: paths, recipes, numbers within bounds, devices."""

from __future__ import annotations

import errno
import math
import os
import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import fastpath
from fastpath.urls import as_url, located

COUNT_MAX = 2**31 - 1
THREADS = click.IntRange(1, 1024)
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


PATH, OUTPUT = UserPath(urls=True), UserPath(urls=False)
RECIPE, GRID = Recipe(), Recipe("sweeps")
