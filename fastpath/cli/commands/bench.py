"""`fastpath bench`: what limits training on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastpath.cli import following, machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice


@options.command("bench", "train")
@click.argument("kind", type=click.Choice(["loader", "train", "ceiling"]))
@options.store_argument()
@options.config()
@options.overrides()
@click.option("--batches", type=param_types.Count(min=1), default=30, show_default=True, help="Batches on each clock.")
@click.option("--threads", type=param_types.THREADS, help="CPU threads.  [default: all cores]")
@click.option("--plot", type=param_types.OUTPUT, help="Also draw the rates as bars, into this PNG.")
@options.precision()
@options.device()
@options.common
def command(
    kind: str,
    store: Path,
    config_path: Path | None,
    overrides: tuple[str, ...],
    batches: int,
    threads: int | None,
    plot: Path | None,
    precision: PrecisionChoice,
    device: str,
    as_json: bool,
    verbosity: int,
) -> None:
    """Measure what limits training on this machine.

    KIND is the loader, training, or the ceiling: the loader alone, the network alone, and both together.

    The verdict says which of them limits training here, and which setting to change.

    \b
    Example:
        fastpath bench ceiling store/ --amp --config notebook
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath import config

    settings = config.load(config_path, overrides)  # told before seconds of imports
    from fastpath.runs import output_place
    from fastpath.workflows.bench import bench

    if plot is not None:
        output_place.check_file(plot, (store, config_path), "--plot")
    runtime = machine.choose(device, precision, threads)
    with render.progress_bar(f"bench {kind}", verbosity) as advance:
        result = bench.run_benchmark(kind, store, settings, runtime, num_batches=batches, advance=advance)  # type: ignore[arg-type]
    if plot is not None:
        bench.draw_benchmark(result, plot)
    shown = {name: value for name, value in asdict(result).items() if as_json or value not in (None, "")}
    asked = [word for change in overrides for word in ("--set", change)]
    asked = [*(() if config_path is None else ("--config", config_path)), *asked]
    next_command = () if plot is None else following.train(store, *asked)
    render.result(shown, as_json=as_json, title=f"bench {kind}", location=plot, following=next_command)
