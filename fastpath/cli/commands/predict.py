"""`fastpath predict`: trained runs and unlabelled patches in, a submission table out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.analysis.combine import Mean
    from fastpath.runtime import PrecisionChoice
    from fastpath.types import Tta

_MEANS: dict[str, Mean] = {"mean": "logits", "probabilities": "probabilities", "rank": "ranks"}


def _weights(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(_number(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a list of numbers from 0 on such as 2,1.") from None


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError
    return number


@options.command("predict")
@click.argument("runs", metavar="RUN...", type=param_types.PATH, nargs=-1, required=True)
@click.option("--store", type=param_types.PATH, help="Packed patches.")
@click.option("--source", type=param_types.PATH, help="A folder of patches, or one with test/; read as it is scored.")
@options.follow_symlinks()
@options.output("The table to write, a CSV of id,label, label being a probability.")
@click.option(
    "--sample",
    type=param_types.PATH,
    help="A sample submission: its ids, in its order. Default: the sample_submission.csv in or beside --source.",
)
@options.tta("Score each patch in its eight turns and mirror images.")
@options.mean()
@click.option(
    "--ensemble",
    type=click.Choice(list(_MEANS)),
    default="mean",
    show_default=True,
    help="How several runs are averaged: their logits, their probabilities, or their ranks among these patches.",
)
@click.option("--weights", callback=_weights, help="Of the runs, such as 2,1. Default: all the same.")
@click.option("--raw", is_flag=True, help="Probabilities as networks give them, without the runs' calibration.")
@click.option(
    "--table",
    type=param_types.OUTPUT,
    help="Also write id, logit, probability, what is known of slide, label and spread, and what the runs did with each "
    "patch, to this Parquet file, for 'fastpath evaluate'.",
)
@options.checkpoint()
@options.device()
@options.precision()
@options.common
def command(
    runs: tuple[Path, ...],
    store: Path | None,
    source: Path | None,
    follow: tuple[Path, ...],
    output: Path,
    sample: Path | None,
    checkpoint: Literal["best", "last"],
    device: str,
    precision: PrecisionChoice,
    as_json: bool,
    verbosity: int,
    tta: Tta,
    mean: Mean,
    ensemble: str,
    weights: tuple[float, ...] | None,
    raw: bool,
    table: Path | None,
) -> None:
    """Predict tumour for patches, as a submission table.

    Several runs are averaged. Probabilities are calibrated where 'fastpath evaluate' has calibrated the run. Rows are
    in the order of the sample submission where there is one, and checked against it; else of the patches.

    \b
    Example:  fastpath predict runs/first --source histopathologic-cancer-detection -o submission.csv
              fastpath predict runs/first --store store-test -o submission.csv --tta d4
              fastpath predict runs/a runs/b --weights 2,1 --store store-test -o submission.csv
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.workflows.predict import predict, submission

    runtime = machine.choose(device, precision)
    asked = predict.PredictOptions(
        tta=tta, mean=mean, ensemble=_MEANS[ensemble], weights=weights, calibrate=not raw, checkpoint=checkpoint
    )
    predict.check_runs(runs, checkpoint, output)  # a wrong run is told before a large folder is listed
    patches = predict.open_patches(store, source, follow)
    sample = sample or (None if source is None else submission.sample_beside(source))
    with render.progress_bar("predicting", verbosity) as advance:
        result = predict.predict_patches(
            runs, patches, output, runtime, sample=sample, options=asked, table=table, advance=advance
        )
    for text in result.notices:
        render.notice(text)
    has_both_classes = table is not None and {0, 1} <= set(patches.labels_N.tolist())
    next_command = ("fastpath", "evaluate", table) if has_both_classes else ()
    render.result(asdict(result), as_json=as_json, title="predicted", location=output, following=next_command)
