"""`fastpath compare`: several trained runs in, paired tests on the same patches out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import following, machine, options, param_types, render
from fastpath.errors import UsageError

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice
    from fastpath.workflows.compare.comparison import CompareResult


@options.command("compare", "judge")
@click.argument("runs", type=param_types.PATH, nargs=-1, required=True)
@click.option("--splits", metavar="random,group", help="Leak meter: train a recipe on both splits of the STORE given.")
@options.config("The recipe for --splits: a name, a TOML file, or a run. Default: the defaults.")
@click.option("--folds", type=click.IntRange(2, 36), help="With --splits, train this many folds of each.")
@click.option(
    "--store", type=param_types.PATH, help="The packed store they were trained on. Default: the first run's own."
)
@options.split_file("where the first run had it")
@options.output("Where to write. Default: comparison/ beside the first run.", required=False)
@options.checkpoint()
@options.device()
@options.precision()
@options.common
def command(
    runs: tuple[Path, ...],
    store: Path | None,
    split_file: Path | None,
    output: Path | None,
    checkpoint: Literal["best", "last"],
    device: str,
    precision: PrecisionChoice,
    as_json: bool,
    verbosity: int,
    splits: str | None,
    config_path: Path | None,
    folds: int | None,
) -> None:
    """Compare runs of one split by paired tests.

    AUCs, their differences with intervals and p-values, and the curves on one figure.

    All are scored on the same validation patches; a run of another store or split is refused. What is resampled are
    whole slides, where they are known; p-values are corrected for all pairs. With fewer than five slides there is
    no verdict, and where slides are unknown it is optimistic.

    Tables of predictions of the same patches, such as the folds of two recipes, are compared likewise.

    With --splits, train one recipe by a random and by a slide-grouped split of a store instead, and say by how much
    the random one flatters.

    \b
    Example:  fastpath compare runs/baseline runs/resnet50
              fastpath compare runs/* -o results/comparison --json
              fastpath compare --splits random,group store --config fast -o results/leak
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath import config
    from fastpath.cli.train_folds import measure_leak

    settings = config.load(config_path)  # told before seconds of imports
    from fastpath.workflows.compare import compare_tables

    tables = compare_tables.are_tables(runs)
    if split_file is not None and (splits is not None or tables):
        problem = f"found {split_file} for {'tables' if tables else '--splits'}, wanted runs to compare"
        raise UsageError("--split-file", problem, "leave it out")
    if splits is not None:
        measure_leak(
            runs,
            output,
            machine.choose(device, precision),
            splits=splits,
            settings=settings,
            folds=folds,
            as_json=as_json,
            verbosity=verbosity,
        )
        return
    if tables:
        result = compare_tables.compare_tables(runs, output)
    else:
        from fastpath.workflows.compare import compare

        runtime = machine.choose(device, precision)
        with render.progress_bar("scoring", verbosity) as advance:
            result = compare.compare_runs(
                runs,
                runtime,
                store_path=store,
                split_file=split_file,
                output=output,
                checkpoint=checkpoint,
                advance=advance,
            )
    for text in result.notices:
        render.notice(text)
    if as_json:
        render.result(asdict(result), as_json=True, title="")
    else:
        _tables(result, runs)


def _tables(comparison: CompareResult, paths: tuple[Path, ...]) -> None:
    """Print the runs, best first, and the pairs."""
    title = f"{comparison.num_patches:,} validation patches of a {comparison.split_kind} split of {comparison.store}"
    runs = render.table(title, "run", "model", "epoch", "AUC", "standard error")
    for column in runs.columns[2:]:
        column.justify = "right"
    for run in comparison.runs:
        error = "" if math.isnan(run.standard_error) else f"{run.standard_error:.4f}"
        render.add_row(runs, run.name, run.model, str(run.epoch), f"{run.auc:.4f}", error)
    by = f"{comparison.decided_by}{' (optimistic)' if comparison.optimistic else ''}"
    headings = ("pair", "difference", "95 % interval", "p", "corrected", "DeLong p", "verdict")
    pairs = render.table(f"verdicts by {by}", *headings)
    for pair in comparison.pairs:
        text = f"{pair.first} is better" if pair.verdict == "better" else pair.verdict
        p_values = (pair.p_value, pair.p_corrected, pair.delong_p)
        numbers = ("" if math.isnan(p) else f"{p:.2g}" for p in p_values)
        interval = "" if math.isnan(pair.low) else f"{pair.low:+.4f} to {pair.high:+.4f}"
        render.add_row(pairs, f"{pair.first} - {pair.second}", f"{pair.difference:.4f}", interval, *numbers, text)
    render.show(runs, pairs)
    best = [path for path in paths if path.resolve().as_posix().endswith(f"/{comparison.runs[0].name}")]
    next_command = ("fastpath", "evaluate", best[0]) if best else ()
    render.end(following.to_open(comparison.output, "comparison.png"), next_command)
