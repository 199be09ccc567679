"""`fastpath merge`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from fastpath.cli import following, options, param_types, render


@options.command("merge", "data")
@click.argument("stores", type=param_types.PATH, nargs=-1, required=True)
@options.output("The store to write (a directory).")
@options.common
def command(stores: tuple[Path, ...], output: Path, as_json: bool, verbosity: int) -> None:
    """Join stores into one.

    Parts that 'pack --part' made on several machines, or stores of several sources.

    \b
    Example:  fastpath pack kaggle -o part-1 --part 1/2
              fastpath pack kaggle -o part-2 --part 2/2
              fastpath merge part-1 part-2 -o store
    """  # noqa: D301
    from fastpath.workflows import merge

    with render.progress_bar("merging", verbosity) as advance:
        result = merge.merge_stores(stores, output, advance=advance)
    for text in result.notices:
        render.notice(text)
    values = dataclasses.asdict(result) | {"store": str(result.store)}
    next_command = following.train(output) if result.split else following.inspect(output)
    title = f"merged {result.num_stores} stores"
    render.result(values, as_json=as_json, title=title, location=output, following=next_command)
