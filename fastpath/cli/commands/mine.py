"""`fastpath mine`: a trained run in; out a table of patches to train on more, less, or anew, and a page of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import following, machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice


@options.command("mine", "judge")
@click.argument("run", type=param_types.PATH)
@click.option(
    "--store",
    "stores",
    type=param_types.PATH,
    multiple=True,
    help="Where to look; may be repeated. Of a store other than the run's own, unlabelled patches are looked at.",
)
@options.split_file("where the run had it")
@options.output("The table, .parquet or .csv.")
@click.option(
    "--predictions",
    type=param_types.PATH,
    help="Out-of-fold predictions (id, logit). Default: those of RUN where it is of 'train --folds'.",
)
@click.option(
    "--hard",
    type=param_types.Number(0, 1),
    default=0.05,
    show_default=True,
    help="Share of each class's training patches that count as hard, by loss.",
)
@click.option(
    "--errors",
    type=param_types.Count(min=0),
    help="List this many likely label errors, by loss. Default: as many as confident learning suspects.",
)
@click.option(
    "--confidence",
    type=param_types.Number(0.5, 1),
    default=0.95,
    show_default=True,
    help="Calibrated probability from which an unlabelled patch gets a label.",
)
@options.checkpoint()
@options.device()
@options.precision()
@options.common
def command(
    run: Path,
    stores: tuple[Path, ...],
    split_file: Path | None,
    output: Path,
    predictions: Path | None,
    checkpoint: Literal["best", "last"],
    device: str,
    precision: PrecisionChoice,
    as_json: bool,
    verbosity: int,
    hard: float,
    errors: int | None,
    confidence: float,
) -> None:
    """Find hard patches, likely label errors, and new labels.

    The table holds id, kind, label, probability, loss and weight of each. Trained with, hard patches are drawn twice
    as often, likely errors not at all, and newly labelled patches join. The page beside it, TABLE-review/review.html,
    shows each patch, to be kept, flipped or dropped by a key; what is downloaded there is trained with likewise.
    Patches held out of training are never listed, and refused when training.

    \b
    Example:  fastpath train store -o folds --folds 5
              fastpath mine folds --store store --store unlabelled -o mined.parquet
              fastpath train store -o again --set data.extra=mined.parquet
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.workflows.mine import mine

    runtime = machine.choose(device, precision)
    with render.progress_bar("mining", verbosity) as advance:
        result = mine.mine_patches(
            run,
            output,
            runtime,
            stores=stores,
            predictions=predictions,
            split_file=split_file,
            options=mine.MineOptions(hard_share=hard, errors=errors, confidence=confidence),
            checkpoint=checkpoint,
            advance=advance,
        )
    for text in result.notices:
        render.notice(text)
    render.verdicts(result.verdicts)
    from fastpath.runs import run_directory

    trained_on, split_at = run_directory.store_of(run), run_directory.split_file_of(run)
    file = () if split_at is None else ("--split-file", split_at)
    again = ("--config", run, "--set", f"data.extra={output}")
    next_command = () if trained_on is None else following.train(trained_on, *file, *again, run="mined")
    render.result(asdict(result), as_json=as_json, title="mined", location=result.review, following=next_command)
