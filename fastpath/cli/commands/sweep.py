"""`fastpath sweep`: a grid of settings and some seeds in, verdicts out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastpath.cli import following, machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice
    from fastpath.workflows.sweep.sweep_result import SweepResult


@options.command("sweep", "train")
@options.store_argument()
@options.output("Directory of the sweep. One that was begun goes on: finished runs are not repeated.")
@options.config(
    "What all runs share: a recipe by name, a TOML file, or a run. Default: the grid file's, or the defaults."
)
@click.option("--grid", "grid", multiple=True, metavar="KEY=V1,V2", help="Values of one key to try; may be repeated.")
@click.option(
    "--grid-file",
    type=param_types.GRID,
    metavar="NAME|FILE",
    help="A grid by name (scheduler, weight_decay) or in TOML.",
)
@click.option(
    "--repeats", type=param_types.Count(min=1), help="Seeds of each setting.  [default: 1, or the grid file's]"
)
@click.option("--jobs", type=param_types.THREADS, default=1, show_default=True, help="Runs at the same time.")
@options.split_file()
@options.precision()
@options.device()
@click.option("--threads", type=param_types.THREADS, help="CPU threads of a run.  [default: the cores shared]")
@options.overrides("Change one setting of all runs; may be repeated.")
@options.common
def command(
    store: Path,
    output: Path,
    config_path: Path | None,
    grid: tuple[str, ...],
    grid_file: Path | None,
    repeats: int | None,
    overrides: tuple[str, ...],
    jobs: int,
    split_file: Path | None,
    precision: PrecisionChoice,
    device: str,
    threads: int | None,
    as_json: bool,
    verbosity: int,
) -> None:
    """Train a grid of settings with several seeds; say which is better.

    Several --grid are combined. A value may hold commas within brackets. Verdicts are by a test paired by seed and
    corrected for the number of pairs (docs/sweeps.md). The same command again goes on where it was stopped; with a
    larger --repeats it adds seeds.

    \b
    Example:
        fastpath sweep store/ -o sweeps/decay --config baseline_cnn \\
            --grid optim.weight_decay=0,1e-4,1e-2 --repeats 3 --jobs 2
        fastpath sweep store/ -o sweeps/crop --grid "data.augment.crop_scale=[0.8,1.0],[1.0,1.0]" --repeats 5
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.cli.main import INTERRUPTED
    from fastpath.workflows.sweep.sweep_plan import make_plan

    # First: what is wrong with a setting is told at once, and the import below takes seconds.
    plan = make_plan(config_path, grid, grid_file=grid_file, overrides=overrides, repeats=repeats)
    from fastpath.workflows.sweep import sweep

    with render.progress_bar("runs", verbosity) as advance:
        result = sweep.sweep_settings(
            store,
            output,
            plan,
            split_file=split_file,
            device=device,
            precision=precision,
            num_threads=threads,
            jobs=jobs,
            on_runtime=machine.tell,
            advance=advance,
        )
    for text in (*result.failures, *result.notices):
        render.notice(text)
    if as_json:
        render.result(asdict(result), as_json=True, title="")
    else:
        slugs = {setting.name: setting.slug for setting in plan.settings}
        best = next((row.name for row in result.settings[:1] if row.mean is not None and row.name in slugs), None)
        run = None if best is None else sweep.run_path(output, slugs[best], plan.seeds[0])
        _table(result, () if run is None else ("fastpath", "evaluate", run))
    if result.status == "interrupted":
        render.notice("stopped; the same command goes on")
        click.get_current_context().exit(INTERRUPTED)
    if result.failures:
        click.get_current_context().exit(1)


def _table(comparison: SweepResult, next_command: render.Words) -> None:
    """Print the settings, best first, and the pairs that differ."""
    numeric = ("mean AUC", "sd", "lowest", "highest")
    table = render.table(f"Sweep {comparison.status}", "setting", *numeric, "against the best")
    for column in table.columns[1:5]:
        column.justify = "right"
    for row in comparison.settings:
        known = [auc for auc in row.aucs if auc is not None]
        numbers = (row.mean, row.spread, min(known, default=None), max(known, default=None))
        render.add_row(table, row.name, *("" if value is None else f"{value:.4f}" for value in numbers), row.verdict)
    render.show(table)
    for pair in comparison.pairs:
        if pair["verdict"] == "better":
            text = f"{pair['first']} is better than {pair['second']}"
            render.say(f"{text} by {pair['difference']:.4f} (p = {pair['p_corrected']:.2g})")
    render.end(following.to_open(comparison.output, "sweep.png", "settings.csv"), next_command)
