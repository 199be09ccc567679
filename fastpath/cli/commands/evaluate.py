"""`fastpath evaluate`: a trained run or a table of predictions in, a report out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fastpath.cli import following, machine, options, param_types, render
from fastpath.errors import UsageError

if TYPE_CHECKING:
    from fastpath.analysis.calibration import Method
    from fastpath.analysis.combine import Mean
    from fastpath.runtime import PrecisionChoice
    from fastpath.types import Tta
    from fastpath.workflows.evaluate.report_files import EvaluateResult

_SHOWN = ("num_patches", "num_positive", "num_slides", "accuracy", "threshold")


@options.command("evaluate", "judge")
@click.argument("run", type=param_types.PATH)
@click.option(
    "--store",
    type=param_types.PATH,
    help="The packed store. Default: the run's own, which must be unchanged. Another is an external validation.",
)
@options.split_file("where the run had it, or the store's own of another store")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="The part of the store to judge. Default: val of the run's own store, all labelled patches of another.",
)
@options.output(
    "Where to write. Default: RUN/evaluation-SPLIT, with -d4 and the like where patches "
    "are scored in another way; or evaluation-NAME beside a table.",
    required=False,
)
@options.tta("Score each patch in its eight turns and mirror images; tells what that is worth.")
@options.mean()
@click.option(
    "--calibration",
    type=click.Choice(["platt", "temperature", "isotonic", "none"]),
    default="platt",
    show_default=True,
    help="How probabilities are calibrated; all are compared.",
)
@click.option(
    "--prevalence", type=param_types.Number(0, 1), help="Also tell PPV and NPV for this share of tumour, such as 0.02."
)
@click.option(
    "--miss-cost",
    type=param_types.Number(0, 1e6, min_open=True),
    default=10.0,
    show_default=True,
    help="Cost of a missed tumour in false alarms, for the point of least cost.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="TABLE|COLUMN",
    help="Also judge subgroups by the columns of a table of id and more, such as scanner, or by a column of the "
    "store's index; may be repeated.",
)
@options.checkpoint()
@options.device()
@options.precision()
@options.seed(42)
@options.common
def command(
    run: Path,
    store: Path | None,
    split_file: Path | None,
    split: str | None,
    output: Path | None,
    checkpoint: Literal["best", "last"],
    device: str,
    precision: PrecisionChoice,
    as_json: bool,
    verbosity: int,
    tta: Tta,
    mean: Mean,
    calibration: Method,
    prevalence: float | None,
    miss_cost: float,
    by: tuple[str, ...],
    seed: int,
) -> None:
    """Judge a run: its measures with intervals, calibration and errors.

    Discrimination, calibration and operating points with 95% intervals, and the patches it is wrong about.

    RUN is a run's directory; the directory of 'train --folds', whose out-of-fold predictions are judged; or a Parquet
    or CSV table of id, label, logit and optionally group (the slide). Writes report.html, metrics.json,
    predictions.parquet and gallery.csv. Calibration and thresholds are chosen on one half of the patches, of whole
    slides where they are known, and judged on the other; a run's calibration is kept in it for 'fastpath predict'.
    Another store than the run's own is judged whole, with the calibration and the thresholds that the run keeps.

    \b
    Example:  fastpath evaluate runs/first
              fastpath evaluate runs/first --tta d4 --prevalence 0.02
              fastpath evaluate runs/first --store other-hospital --by scanners.csv
              fastpath evaluate folds
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from fastpath.runs import out_of_fold
    from fastpath.types import Split
    from fastpath.workflows.evaluate.report_facts import EvaluateOptions

    asked = EvaluateOptions(
        method=calibration, prevalence=prevalence, miss_cost=miss_cost, seed=seed, tta=tta, mean=mean, by=by
    )
    is_table = out_of_fold.table_of(run) is not None
    if is_table:
        if split_file is not None:
            raise UsageError(
                "--split-file", f"found {split_file} for predictions, which no split divides", "leave it out"
            )
        from fastpath.workflows.evaluate import evaluate_table

        result = evaluate_table.evaluate_table(run, output=output, store_path=store, options=asked)
    else:
        from fastpath.workflows.evaluate import evaluate

        runtime = machine.choose(device, precision)
        with render.progress_bar("evaluating", verbosity) as advance:
            result = evaluate.evaluate_run(
                run,
                runtime,
                store_path=store,
                split_file=split_file,
                split=None if split is None else Split(split),
                output=output,
                checkpoint=checkpoint,
                options=asked,
                advance=advance,
            )
    for text in result.notices:
        render.notice(text)
    render.verdicts(result.verdicts)
    if as_json:
        render.result(result.facts | {"output": result.output}, as_json=True, title="")
    else:
        page = following.to_open(result.output, "report.html")
        more = {"--split-file": split_file, "--split": split, "--checkpoint": checkpoint}
        next_command: render.Words = ()
        if store is None:
            next_command = _after_table(run) if is_table else _after_run(run, result, more)
        render.result(_shown(result), as_json=False, title="evaluated", location=page, following=next_command)


def _after_table(run: Path) -> render.Words:
    """Return what comes after a table was judged: of folds the mining of their errors."""
    return ("fastpath", "mine", run, "-o", following.beside(run, "mined.parquet")) if run.is_dir() else ()


def _after_run(run: Path, evaluation: EvaluateResult, asked: Mapping[str, object]) -> render.Words:
    """Return what comes after a run was judged on its own store: a look at its errors."""
    counts = evaluation.facts["confusion"]
    usual = (None, "val", "best")
    more = [word for name, value in asked.items() if value not in usual for word in (name, value)]
    return following.explain(run, counts["false_positive"] + counts["false_negative"], *more)


def _shown(evaluation: EvaluateResult) -> dict[str, Any]:
    """Return the headline: measures with their intervals, as they are and calibrated, and the confusion at one half."""
    facts = evaluation.facts
    values: dict[str, Any] = {name: facts[name] for name in _SHOWN} | facts["confusion"]
    for name, interval in facts["intervals"].items():
        values[name] = _interval_text(interval)
    used = facts["calibration"]["methods"][facts["calibration"]["method"]]["intervals"]
    for name in ("observed_over_expected", "calibration_intercept"):
        values[f"{name}, calibrated"] = (
            f"{_interval_text(used[name])}  of {facts['parts']['held']['num_patches']:,} judged apart"
        )
    values["intervals_by"] = facts["resampling"]["unit"] + (", optimistic" if facts["resampling"]["optimistic"] else "")
    return values


def _interval_text(values: dict[str, Any]) -> str:
    ends = "no interval" if values["low"] is None else f"{values['low']:.4f} to {values['high']:.4f}"
    return "undefined" if values["value"] is None else f"{values['value']:.4f}  ({ends})"
