"""What commands show: progress on standard error, results on standard output.

All that is said in lines goes through the package's logger: to the terminal by `Terminal`, and to `run.log` of what the
command leaves (`system.run_log`).

Nothing of the user's (paths, ids, names, errors, values) is markup or a terminal escape: consoles interpret no markup,
and what is shown goes through `shown`. Styles are given beside a text, never within it.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fastpath import __version__
from fastpath.system.run_log import LOGGER
from fastpath.text import command_line, visible
from fastpath.urls import redacted

if TYPE_CHECKING:
    from fastpath.analysis.verdicts import Verdict

Advance = Callable[[int, int], None]
"""Called by a workflow with (done, total), both in patches."""
Words = Sequence[object]
"""A command line, word by word: paths as paths."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `main`, which tells a reader that has left from other pipes."""
        raise


def console(*, on_stderr: bool = False) -> Console:
    """Return a console that takes text as it is: no markup, no `:emoji:`, no colours by content."""
    return _Console(stderr=on_stderr, markup=False, emoji=False, highlight=False)


stderr = console(on_stderr=True)


def shown(value: object) -> str:
    """Return one line without secrets, in which every character can be seen."""
    return visible(redacted(str(value)))


def text(value: object, style: str = "") -> Text:
    """Return what a cell, a title or a line holds: characters as they are, those that cannot be seen escaped."""
    return Text(shown(value), style)


def text_column(template: str) -> TextColumn:
    """Return a column of a progress bar whose values are no markup."""
    return TextColumn(template, markup=False)


def bars_move(verbosity: int) -> bool:
    """Whether bars are shown: on a terminal, and nowhere that is only made to look like one.

    Jupyter sets FORCE_COLOR for what its kernels start: colours are welcome there, but a bar would be a line a tick.
    """
    return verbosity >= 0 and stderr.is_terminal and stderr.file.isatty()


@contextmanager
def progress_bar(what: str, verbosity: int) -> Iterator[Advance]:
    """Show a bar on standard error; yields what moves it. Silent with `-q` and where that is no terminal."""
    columns = (
        text_column("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, disable=not bars_move(verbosity), transient=True) as bar:
        task = bar.add_task(shown(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Terminal(logging.Handler):
    """Shows what is said on standard error, or on standard output where it is a result.

    A record may bring, as `extra`, a `style`, a `mark` before it with the mark's style, `on_stdout`, and `kept_only`
    where it is for `run.log` alone. Warnings are marked as notes.

    Args:
        verbosity: 0 shows what is told to everybody; below it, warnings and errors; above it, all.
    """

    def __init__(self, verbosity: int) -> None:
        super().__init__(logging.DEBUG if verbosity > 0 else logging.WARNING if verbosity < 0 else logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record. What the stream refuses is raised, as of any other line."""
        if getattr(record, "kept_only", False):
            return
        line = text(record.getMessage(), getattr(record, "style", ""))
        mark = getattr(record, "mark", ("note:", "yellow") if record.levelno == logging.WARNING else None)
        if mark is not None:
            line = Text.assemble(mark, " ", line)
        (console() if getattr(record, "on_stdout", False) else stderr).print(line, soft_wrap=True)


def quieten() -> None:
    """Show warnings and errors only from here on, as a rank beside the first does."""
    for handler in LOGGER.handlers:
        if isinstance(handler, Terminal):
            handler.setLevel(max(handler.level, logging.WARNING))


def quiet() -> bool:
    """Return whether the command was asked to show warnings and errors only."""
    context = click.get_current_context(silent=True)
    return context is not None and (context.params.get("verbosity") or 0) < 0


def begin(words: Words) -> None:
    """Keep what was asked for, where something keeps what this command says."""
    asked = f"{command_line(*words)}  (fastpath {__version__}, {platform.node()})"
    LOGGER.info("%s", asked, extra={"kept_only": True})


def notice(message: str) -> None:
    """Say something the user should know, on standard error, also with `-q`."""
    LOGGER.warning("%s", message)


def detail(message: str) -> None:
    """Say something for who looks closer: shown with `-v`, kept in any case."""
    LOGGER.debug("%s", message)


def verdicts(items: Iterable[Verdict]) -> None:
    """Say in words what numbers come to, on standard error; those that call for caution first."""
    for verdict in sorted(items, key=lambda verdict: not verdict.caution):
        mark = ("caution:", "yellow") if verdict.caution else ("verdict:", "green")
        level = logging.WARNING if verdict.caution else logging.INFO
        LOGGER.log(level, "%s", f"{verdict.about}: {verdict.text}", extra={"mark": mark})


def say(value: object, style: str = "", *, on_stderr: bool = False) -> None:
    """Print one line, however long, on standard output or standard error."""
    LOGGER.info("%s", value, extra={"style": style, "on_stdout": not on_stderr})


def damage(message: str) -> None:
    """Say on standard error what is wrong with something, also with `-q`."""
    LOGGER.error("%s", message)


def table(title: str = "", *headings: str, **styles: Any) -> Table:  # noqa: ANN401 (what rich's tables take)
    """Return an empty table without lines, whose long cells are folded rather than cut."""
    made = Table(title=text(title) if title else None, title_justify="left", box=None, pad_edge=False, **styles)
    for heading in headings:
        made.add_column(text(heading), overflow="fold")
    return made


def add_row(made: Table, *cells: object) -> None:
    """Add a row of cells to a table; texts of `text` keep their style."""
    made.add_row(*(cell if isinstance(cell, Text) else text(cell) for cell in cells))


_CLASSES = {"negative": "normal", "positive": "tumour"}


def _heading(name: str) -> str:
    """Return a key as a person reads it: the classes are called normal and tumour wherever something is shown."""
    words = name.replace("_", " ")
    if words.startswith(("true ", "false ")):  # the names of what a call comes to
        return words
    return " ".join(_CLASSES.get(word, word) for word in words.split(" "))


def show(*tables: Table) -> None:
    """Print tables on standard output; none with `-q`."""
    for each in () if quiet() else tables:
        console().print(each)


def result(
    values: Mapping[str, Any], *, as_json: bool, title: str, location: object | None = None, following: Words = ()
) -> None:
    """Print a command's result.

    That is JSON; or a table of its plain values, a line that says what to open, and the command that comes next.

    Args:
        values: The result.
        as_json: Whether JSON was asked for.
        title: Above the table.
        location: The file to open, or the directory.
        following: The words of the next command; none where nothing comes next.
    """
    plain = {_heading(name): _cell(value) for name, value in values.items() if not isinstance(value, Mapping | list)}
    summary = ", ".join(f"{name} {value}" for name, value in plain.items())
    LOGGER.info("%s", f"{title or 'result'}: {summary}", extra={"kept_only": True})
    if as_json:
        from fastpath.system import json_values  # imports NumPy, which `--help` must not wait for

        click.echo(redacted(json_values.dumps(values)))
        return
    made = table(title, "", "", show_header=False)
    for name, value in plain.items():
        add_row(made, name, value)
    show(made)
    end(location, following)


def _cell(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value


def end(location: object | None, following: Words = ()) -> None:
    """Print the last lines of a result: the file to open, and the command that comes next."""
    if location is not None:
        say(f"→ {location}")
    if following:
        LOGGER.info("%s", command_line(*following), extra={"mark": ("next:", "cyan")})
