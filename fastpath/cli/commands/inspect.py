"""`fastpath inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from fastpath.cli import following, options, param_types, render
from fastpath.urls import as_url, without_secrets


@options.command("inspect", "data")
@options.store_argument()
@options.output("Where to write. Default: beside the store, its name with -inspect.", required=False)
@options.split_file()
@click.option(
    "--sample",
    type=param_types.Count(min=24),
    default=2500,
    show_default=True,
    help="The most patches of a class whose pixels are read. Counts and channel statistics are of all.",
)
@options.seed(42)
@options.common
def command(
    store: Path, output: Path | None, split_file: Path | None, sample: int, seed: int, as_json: bool, verbosity: int
) -> None:
    """Look at a store: counts, samples, colours, odd patches, slides.

    Writes report.html, one page that needs nothing beside it, its pictures as PNG files, and inspect.json.

    \b
    Example:  fastpath inspect store -o inspection
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.workflows.inspect import inspect

    url = as_url(store)
    beside = store.resolve() if url is None else Path.cwd() / Path(without_secrets(url)).name
    directory = output or beside.with_name(f"{beside.name}-inspect")
    with render.progress_bar("inspecting", verbosity) as advance:
        result = inspect.inspect_store(
            store, directory, split_file=split_file, per_class=sample, seed=seed, advance=advance
        )
    for text in result.notices:
        render.notice(text)
    values, labelled = asdict(result), bool(result.negative and result.positive)
    next_command = following.train_or_split(store, split_file) if labelled else ()
    render.result(values, as_json=as_json, title=f"inspected {store}", location=result.report, following=next_command)
