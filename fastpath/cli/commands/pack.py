"""`fastpath pack`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import following, options, param_types, render
from fastpath.errors import UsageError
from fastpath.ingest.sources import KINDS

*_OTHERS, _LAST = KINDS
_KINDS = f"{', '.join(_OTHERS)} or {_LAST}"

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fastpath.workflows.pack import PackResult


@options.command("pack", "data")
@click.argument("source", type=param_types.PATH)
@options.output("The store to write (a directory).")
@click.option("--source-kind", help=f"What SOURCE is: {_KINDS}. Default: look.")
@options.follow_symlinks()
@click.option(
    "--labels",
    type=param_types.PATH,
    help="CSV or Parquet of id,label. Default: SOURCE/train_labels.csv, plain, .gz or .zip, if any.",
)
@click.option(
    "--groups", type=param_types.PATH, help="CSV or Parquet of id,wsi[,site]. Default: SOURCE/groups.csv, if any."
)
@click.option(
    "--orphans",
    type=click.Choice(["refuse", "own-group", "drop"]),
    default="refuse",
    show_default=True,
    help="Patches that the group table does not name.",
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At a patch that cannot be read.",
)
@click.option(
    "--drop",
    multiple=True,
    metavar="FLAG",
    help="Leave out patches flagged duplicate, conflict, constant, black, white, blurred, palette, near-duplicate "
    "or id-mismatch. May be repeated.",
)
@click.option("--only", type=param_types.PATH, help="CSV with a column id: pack those patches only.")
@click.option("--resize", type=click.IntRange(8, 1024), help="Bring every patch to this side, in pixels.")
@click.option(
    "--stain",
    type=click.Choice(["none", "macenko", "reinhard"]),
    default="none",
    show_default=True,
    help="Normalise every patch's stains to a published reference; glass, black and one colour stay as they are.",
)
@click.option("--part", metavar="I/N", help="Pack the I-th of N parts, for 'fastpath merge'.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Worker processes. Default: up to one a core.")
@click.option("--dask", metavar="ADDRESS", help="Fill shards on this Dask cluster, which sees the same files.")
@click.option(
    "--shard-mb", type=param_types.Count(1), help="Size of a shard. Default: 4 to 64, by the number of patches."
)
@click.option("--resume", is_flag=True, help="Continue an interrupted pack; refuse if it was of something else.")
@click.option("--overwrite", is_flag=True, help="Replace the store at --output.")
@options.common
def command(
    source: Path,
    output: Path,
    source_kind: str | None,
    follow: tuple[Path, ...],
    labels: Path | None,
    groups: Path | None,
    orphans: Literal["refuse", "own-group", "drop"],
    on_error: Literal["fail", "skip"],
    drop: tuple[str, ...],
    only: Path | None,
    resize: int | None,
    stain: Literal["none", "macenko", "reinhard"],
    part: str | None,
    workers: int | None,
    dask: str | None,
    shard_mb: int | None,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    verbosity: int,
) -> None:
    """Pack a folder of patches into a store.

    SOURCE is a folder in the Kaggle layout (train/ and train_labels.csv), a folder of images or of two class
    folders, a CSV or Parquet table with a column path, PatchCamelyon's HDF5 files, or a store.
    The store appears only when it is whole; an interrupted pack goes on where it was with the same command.

    \b
    Example:  fastpath pack histopathologic-cancer-detection -o store
              fastpath pack histopathologic-cancer-detection/test -o store-test
    """  # noqa: D301
    from fastpath.ingest import quality
    from fastpath.workflows import pack

    plan = pack.PackOptions(
        kind=source_kind,
        follow=follow,
        labels=labels,
        groups=groups,
        orphans=orphans,
        on_error=on_error,
        drop=tuple(map(quality.parse, drop)),
        only=only,
        resize_px=resize or 0,
        stain=stain,
        part=None if part is None else _part(part),
        shard_bytes=None if shard_mb is None else shard_mb << 20,
    )
    with render.progress_bar("packing", verbosity) as advance, _dask(dask) as engine:
        result = pack.pack_source(
            source, output, plan, workers=workers, engine=engine, resume=resume, overwrite=overwrite, advance=advance
        )
    _report(result, output, as_json=as_json)


def _report(packed: PackResult, output: Path, *, as_json: bool) -> None:
    """Say what was packed, and what of it deserves a look."""
    for text in packed.notices:
        render.notice(text)
    if any(packed.flag_counts.values()):
        flagged = ", ".join(f"{count} {name}" for name, count in packed.flag_counts.items() if count)
        render.notice(f"flagged: {flagged} ({packed.num_dropped} left out; --drop FLAG leaves out more)")
    if packed.skipped:
        render.notice(
            f"{len(packed.skipped)} files were left out, the first: {packed.skipped[0][0]}: {packed.skipped[0][1]}"
        )
    values = {
        "patches": packed.num_patches,
        "negative": packed.class_counts["0"],
        "positive": packed.class_counts["1"],
        "unlabelled": packed.class_counts["unlabelled"],
        "groups": packed.num_groups,
        "shards": packed.num_shards,
        "resumed": packed.num_resumed,
        "skipped": [{"file": name, "problem": problem} for name, problem in packed.skipped],
        "dropped": packed.num_dropped,
        "flags": packed.flag_counts,
        "split": packed.split or "none",
        "fingerprint": packed.fingerprint,
        "notices": packed.notices,
        "store": str(packed.store),
    }
    title = f"packed a {packed.kind} source"
    next_command = following.train(output) if packed.split else following.inspect(output)
    render.result(values, as_json=as_json, title=title, location=output, following=next_command)


def _part(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError("--part", f"found '{text}', wanted I/N with I from 1 to N", "write for example --part 1/8")
    return int(number), int(count)


@contextlib.contextmanager
def _dask(address: str | None) -> Iterator[Executor | None]:
    """Connect to a cluster, where one is asked for."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--dask", "found no Dask", "run: pip install 'fastpath[dask]'") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        problem = f"found no scheduler at {address} ({type(error).__name__})"
        raise UsageError("--dask", problem, "give the address of a running scheduler") from None
    with client:
        yield client.get_executor(pure=False)
