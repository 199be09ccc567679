"""`fastpath train`: a packed store in, a run directory out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastpath.cli import following, machine, options, param_types, render
from fastpath.text import command_line

if TYPE_CHECKING:
    from fastpath.config import Config
    from fastpath.data.residency import ResidencyChoice
    from fastpath.runtime import PrecisionChoice, Runtime
    from fastpath.workflows.train.train import StartEvent, TrainResult


@options.command("train", "train")
@options.store_argument()
@options.output("Directory of the run; it must not hold one yet, unless resuming.")
@options.config()
@options.precision(None, text="no-amp; with --resume, as the run did")
@click.option("--epochs", type=param_types.Count(min=1), help="Short for --set train.epochs=N.")
@click.option(
    "--limit", type=param_types.Count(min=0), help="Short for --set data.limit=N: train on a draw of N patches."
)
@click.option("--val-limit", type=param_types.Count(min=0), help="Short for --set data.val_limit=N.")
@options.seed()
@options.device()
@click.option("--threads", type=param_types.THREADS, help="CPU threads.  [default: all cores]")
@click.option(
    "--residency",
    type=click.Choice(["auto", "device", "host"]),
    default="auto",
    show_default=True,
    help="Where patches wait: all on the device, where they fit with room to spare, or in the store.",
)
@options.overrides()
@options.split_file("the store's own, or the run's with --resume")
@click.option("--folds", type=click.IntRange(2, 36), help="Train each of the folds of 'fastpath split --folds K'.")
@click.option("--resume", is_flag=True, help="Go on from where the run in the directory stands.")
@click.option("--tensorboard", "trackers", multiple=True, flag_value="tensorboard", help="Also write RUN/tensorboard.")
@click.option("--mlflow", "trackers", multiple=True, flag_value="mlflow", help="Also log to MLFLOW_TRACKING_URI.")
@click.option("--wandb", "trackers", multiple=True, flag_value="wandb", help="Also log to Weights & Biases.")
@options.common
def command(
    store: Path,
    output: Path,
    config_path: Path | None,
    precision: PrecisionChoice | None,
    device: str,
    threads: int | None,
    residency: ResidencyChoice,
    folds: int | None,
    resume: bool,
    split_file: Path | None,
    as_json: bool,
    verbosity: int,
    overrides: tuple[str, ...],
    trackers: tuple[str, ...],
    epochs: int | None,
    limit: int | None,
    val_limit: int | None,
    seed: int | None,
) -> None:
    """Train a network on a packed store.

    Ctrl-C saves and stops; --resume goes on to the very result of an uninterrupted run, with the run's own settings and
    views (--tensorboard, --mlflow). Beside it --epochs may be given, which extends a finished run, and --set of
    train.early_stop_epochs, train.checkpoint_minutes and train.cuda_graph; nothing else may change.

    Under torchrun each process trains on its share of every batch; one that torchrun starts again after a failure
    resumes by itself.

    \b
    Example:
        fastpath train store/ -o runs/first --amp --config baseline_cnn
        fastpath train store/ -o runs/first --resume --epochs 20
        fastpath train store/ -o runs/folds --folds 5
        torchrun --nproc-per-node 4 -m fastpath train store/ -o runs/first --amp
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    shorts = {"train.epochs": epochs, "data.limit": limit, "data.val_limit": val_limit, "seed": seed}
    changes = [*overrides, *(f"{key}={value}" for key, value in shorts.items() if value is not None)]
    settings = _settings(output, config_path, changes, resume=resume)  # told before seconds of imports
    from fastpath.cli.train_folds import train_folds
    from fastpath.cli.train_view import TrainView
    from fastpath.runs import run_directory
    from fastpath.runtime import attempt
    from fastpath.workflows.train import train
    from fastpath.workflows.train.trackers import listening, require

    if not resume and attempt() > 0 and (output / run_directory.CONFIG).exists():
        resume, settings = True, _settings(output, config_path, changes, resume=True)
    began = run_directory.precision_of(output) if resume else ""
    runtime = _runtime(device, threads, precision, began)
    if resume:
        _tell_threads(run_directory.threads_of(output), runtime)
        trackers = _with_views(trackers, run_directory.views_of(output), runtime)
    if runtime.rank > 0:
        verbosity = -1
        render.quieten()
    rank_trackers = trackers if runtime.rank == 0 else ()
    if folds:
        train_folds(
            store,
            output,
            settings,
            runtime,
            folds,
            resume=resume,
            split_file=split_file,
            residency=residency,
            trackers=rank_trackers,
            as_json=as_json,
            verbosity=verbosity,
        )
        return
    require(rank_trackers)
    with (
        TrainView(verbosity, runtime) as view,
        listening(rank_trackers, output, settings, view.show, render.notice) as tell,
    ):
        result = train.train_run(
            store, output, settings, runtime, resume=resume, split_file=split_file, residency=residency, on_event=tell
        )
    again = command_line("fastpath", "train", store, "-o", output, "--resume")
    _tell(result, view.start, runtime, again, as_json=as_json)


def _settings(output: Path, config_path: Path | None, changes: Sequence[str], *, resume: bool) -> Config:
    """Return what is asked for; of a run that is resumed, its own settings with what is asked for in their place."""
    from fastpath import config
    from fastpath.config.sources import RUN_CONFIG

    if resume and config_path is None and (output / RUN_CONFIG).exists():
        config_path = output / RUN_CONFIG
    return config.load(config_path, changes)


def _runtime(device: str, threads: int | None, precision: PrecisionChoice | None, began: str) -> Runtime:
    """Decide where to compute, in the precision that the run began in where none is asked for, and tell it."""
    from fastpath.runtime import resumed

    asked = precision or (resumed(began, device) if began else "float32")
    runtime = machine.choose(device, asked, threads, ranked=True, plainly=True)
    if began and began != runtime.precision and not runtime.tentative:
        render.notice(f"the run began in {began} and goes on in {runtime.precision}: its end will differ a little")
    return runtime


def _with_views(asked: tuple[str, ...], begun: Mapping[str, Path], runtime: Runtime) -> tuple[str, ...]:
    """Return the trackers asked for and those that the run has told before, which are to hear how it goes on."""
    added = {name: path for name, path in begun.items() if name not in asked}
    if runtime.rank == 0:
        for name, path in added.items():
            render.notice(f"goes on in {name}, as the run began; remove {path} before --resume to leave that out")
    return (*asked, *added)


def _tell_threads(began: int, runtime: Runtime) -> None:
    """Say so where a run goes on on another number of CPU threads, which share sums out in another way."""
    if runtime.rank == 0 and 0 < began != runtime.summing_threads > 0:
        text = f"the run began with {began} threads and goes on with {runtime.num_threads}: its last digits will differ"
        render.notice(f"{text}; --threads {began} keeps them")


def _tell(result: TrainResult, start: StartEvent | None, runtime: Runtime, again: str, *, as_json: bool) -> None:
    """Print how the run ended, once, and leave with the status of an interruption where it was one."""
    from dataclasses import asdict

    from fastpath.cli.main import INTERRUPTED

    interrupted = result.status == "interrupted"
    if runtime.rank == 0:
        document = asdict(result) | ({"start": asdict(start)} if start else {})
        for text in result.notices:
            render.notice(text)
        next_command = () if interrupted else ("fastpath", "evaluate", result.run_dir)
        title, curves = f"Training {result.status}", following.to_open(result.run_dir, "curves.png")
        render.result(document, as_json=as_json, title=title, location=curves, following=next_command)
        if interrupted:
            render.notice(f"stopped where it can go on: {again}")
    click.get_current_context().exit(INTERRUPTED if interrupted else 0)
