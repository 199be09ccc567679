"""`fastpath repair`."""

from __future__ import annotations

from pathlib import Path

import click

from fastpath.cli import following, options, param_types, render
from fastpath.cli.commands.verify import report_damages


@options.command("repair", "data")
@options.store_argument()
@click.option("--source", type=param_types.PATH, required=True, help="What the store was packed from.")
@click.option("--source-kind", help="What --source is. Default: look.")
@options.follow_symlinks()
@click.option("--workers", type=click.IntRange(1, 1024), help="Worker processes. Default: up to one a core.")
@options.common
def command(
    store: Path,
    source: Path,
    source_kind: str | None,
    follow: tuple[Path, ...],
    workers: int | None,
    as_json: bool,
    verbosity: int,
) -> int:
    """Rebuild a store's damaged shards from their source.

    Exits 1 where something is still wrong.

    A shard is replaced only by one with the very bytes that the manifest promises.

    \b
    Example:  fastpath repair store --source histopathologic-cancer-detection
    """  # noqa: D301
    from fastpath.workflows import repair

    with render.progress_bar("verifying", verbosity) as advance:
        result = repair.repair_store(store, source, kind=source_kind, follow=follow, workers=workers, advance=advance)
    values = {"ok": not result.damages, "repaired": result.repaired, "damages": report_damages(result.damages)}
    title = f"repaired {len(result.repaired)} shards"
    next_command = () if result.damages else following.inspect(store)
    render.result(values, as_json=as_json, title=title, location=store, following=next_command)
    return 1 if result.damages else 0
