"""`fastpath verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastpath.cli import options, param_types, render

if TYPE_CHECKING:
    from fastpath.store.check import Damage

SHOWN = 5  # ids named on the console for one damage; --json names all


def report_damages(damages: list[Damage]) -> list[dict[str, object]]:
    """Name damages on standard error, and return them all as plain values."""
    for damage in damages:
        ids = ", ".join(damage.ids[:SHOWN]) + (" …" if len(damage.ids) > SHOWN else "")
        render.damage(f"damaged: {damage.file}: {damage.problem}{': ' if ids else ''}{ids}")
    return [
        {"file": damage.file, "problem": damage.problem, "rows": damage.rows, "ids": damage.ids} for damage in damages
    ]


@options.command("verify", "data")
@options.store_argument()
@click.option("--source", type=param_types.PATH, help="Compare every pixel with the files it was packed from.")
@click.option("--source-kind", help="What --source is. Default: look.")
@options.follow_symlinks()
@click.option("--workers", type=click.IntRange(1, 1024), help="Worker processes. Default: up to one a core.")
@options.common
def command(
    store: Path,
    source: Path | None,
    source_kind: str | None,
    follow: tuple[Path, ...],
    workers: int | None,
    as_json: bool,
    verbosity: int,
) -> int:
    """Check a store's hashes, counts and ids.

    Exits 1 and names what is damaged, where something is.

    \b
    Example:  fastpath verify store
              fastpath verify store --source histopathologic-cancer-detection
    """  # noqa: D301
    from fastpath.workflows.verify import verify

    with render.progress_bar("verifying", verbosity) as advance:
        result = verify.verify_store(
            store, source=source, kind=source_kind, follow=follow, workers=workers, advance=advance
        )
    values = {
        "ok": not result.damages,
        "patches": result.num_patches,
        "shards": result.num_shards,
        "compared_with_source": result.compared,
        "not_in_store": result.not_in_store,
        "damages": report_damages(result.damages),
    }
    render.result(values, as_json=as_json, title="damaged" if result.damages else "verified", location=store)
    return 1 if result.damages else 0
