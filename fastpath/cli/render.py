"""What commands show: progress on standard error, results on standard output.

Nothing of the user's (paths, ids, names, errors, values) is markup or a terminal escape: consoles interpret no markup,
and what is shown goes through `shown`. Styles are given beside a text, never within it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fastpath.text import command_line, visible
from fastpath.urls import redacted

if TYPE_CHECKING:
    from fastpath.analysis.verdicts import Verdict

Advance = Callable[[int, int], None]
"""Called by a workflow with (done, total), both in patches."""


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
    with Progress(*columns, console=stderr, disable=verbosity < 0 or not stderr.is_terminal, transient=True) as bar:
        task = bar.add_task(shown(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def notice(message: str) -> None:
    """Say something the user should know, on standard error."""
    stderr.print(Text.assemble(("note:", "yellow"), " ", shown(message)), soft_wrap=True)


def verdicts(items: Iterable[Verdict]) -> None:
    """Say in words what numbers come to, on standard error; those that call for caution first."""
    for said in sorted(items, key=lambda said: not said.caution):
        mark = ("caution:", "yellow") if said.caution else ("verdict:", "green")
        stderr.print(Text.assemble(mark, " ", shown(f"{said.about}: {said.text}")), soft_wrap=True)


def say(value: object, style: str = "", *, on_stderr: bool = False) -> None:
    """Print one line, however long, on standard output or standard error."""
    (stderr if on_stderr else console()).print(text(value, style), soft_wrap=True)


def next_step(*words: object) -> None:
    """Say on standard error which command comes next, ready to be copied."""
    stderr.print(Text.assemble(("next:", "cyan"), " ", shown(command_line(*words))), soft_wrap=True)


def lies_in(location: object) -> None:
    """Print the last line of a result: where it lies."""
    say(f"→ {location}")


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


def result(values: Mapping[str, Any], *, as_json: bool, title: str, location: object | None = None) -> None:
    """Print a command's result: JSON, or a table of its plain values and a last line that says where things lie."""
    if as_json:
        from fastpath.system import json_values  # imports NumPy, which `--help` must not wait for

        click.echo(redacted(json_values.dumps(values)))
        return
    made = table(title, "", "", show_header=False)
    for name, value in values.items():
        if not isinstance(value, Mapping | list):
            add_row(made, _heading(name), f"{value:.4f}" if isinstance(value, float) else value)
    console().print(made)
    if location is not None:
        lies_in(location)
