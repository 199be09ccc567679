"""`fastpath audit`: a divided store in, validation patches that resemble training patches out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import following, machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice


@options.command("audit", "data")
@options.store_argument()
@options.output("Directory for neighbours.csv, neighbours.png and audit.json.")
@options.split_file()
@click.option(
    "--run", "run_dir", type=param_types.PATH, help="Compare by this run's features.  [default: perceptual hash]"
)
@options.checkpoint()
@options.device()
@options.precision()
@options.common
def command(
    store: Path,
    output: Path,
    split_file: Path | None,
    run_dir: Path | None,
    checkpoint: Literal["best", "last"],
    device: str,
    precision: PrecisionChoice,
    as_json: bool,
    verbosity: int,
) -> None:
    """Find validation patches that were nearly trained on.

    Each one's nearest training patch is looked up, the likest pairs first.

    A pair is suspicious whose pixels correlate by 0.9 in any of the eight views.

    \b
    Example:  fastpath audit store -o audit
              fastpath audit store -o audit --run runs/first
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.workflows import audit

    runtime = machine.choose(device, precision)
    with render.progress_bar("embedding", verbosity) as advance:
        result = audit.audit_split(
            store, output, runtime, split_file=split_file, run_dir=run_dir, checkpoint=checkpoint, advance=advance
        )
    if result.suspicious:
        render.notice(f"{result.suspicious} validation patches were nearly trained on: see {output / 'neighbours.png'}")
    leaks = result.suspicious and result.split_kind == "random" and result.same_slide is not None  # slides are known
    file = () if split_file is None else ("--split-file", split_file)
    render.result(
        asdict(result),
        as_json=as_json,
        title=f"{result.split_kind} split of {store}",
        location=following.to_open(output, "neighbours.png"),
        following=following.split(store, "--kind", "group") if leaks else following.train(store, *file),
    )
