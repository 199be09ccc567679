"""What commands show: progress on standard error, results on standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

Advance = Callable[[int, int], None]
"""Called by a workflow with (done, total), both in patches."""

stderr = Console(stderr=True, highlight=False)


@contextmanager
def progress_bar(what: str, verbosity: int) -> Iterator[Advance]:
    """Show a bar on standard error; yields what moves it. Silent with `-q` and where that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, disable=verbosity < 0 or not stderr.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def notice(text: str) -> None:
    """Say something the user should know, on standard error."""
    stderr.print(f"[yellow]note:[/] {text}", soft_wrap=True)


def result(values: Mapping[str, Any], *, as_json: bool, title: str, where: object | None = None) -> None:
    """Print a command's result: JSON, or a table of its plain values and a last line that says where things lie."""
    if as_json:
        from fastpath.workflows import json_values  # imports NumPy, which `--help` must not wait for

        click.echo(json_values.dumps(values))
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, value in values.items():
        if not isinstance(value, Mapping | list):
            table.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    Console(highlight=False).print(table)
    if where is not None:
        click.echo(f"→ {where}")
