"""`fastpath evaluate`: a trained run in, its measures and predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastpath.cli import options, render


@click.command(name="evaluate")
@click.argument("run", type=options.PATH)
@click.option("--store", type=options.PATH, help="The packed store. Default: the run's own, which must be unchanged.")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="val",
    show_default=True,
    help="The part of the store to measure on.",
)
@options.output("Where to write. Default: RUN/evaluation-SPLIT.", required=False)
@options.checkpoint()
@options.device()
@options.amp()
@options.common
def command(
    run: Path,
    store: Path | None,
    split: str,
    output: Path | None,
    checkpoint: Literal["best", "last"],
    device: str,
    amp: bool,
    as_json: bool,
    verbosity: int,
) -> None:
    """Measure a trained run: AUC, average precision, accuracy and confusion at 0.5, log loss.

    Network, input size and normalisation are the run's. Writes metrics.json, predictions.csv (id, label, logit,
    probability) and evaluation.png.

    \b
    Example:  fastpath evaluate runs/first
              fastpath evaluate runs/first --store other-store --split test -o results
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath import runtime
    from fastpath.types import Split
    from fastpath.workflows import evaluate

    where = runtime.resolve(device, amp=amp)
    if where.notice:
        render.notice(where.notice)
    with render.progress_bar("evaluating", verbosity) as advance:
        found = evaluate.run(
            run, where, store_path=store, split=Split(split), output=output, which=checkpoint, advance=advance
        )
    for text in found.notices:
        render.notice(text)
    values = asdict(found)
    if not as_json:
        values |= values.pop("confusion")
    render.result(values, as_json=as_json, title=f"{split} split of {found.store}", where=found.output)
