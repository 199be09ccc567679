"""How trainings that belong together look in a terminal: folds, and the two sides of a leak meter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastpath.cli import following, render
from fastpath.text import command_line

if TYPE_CHECKING:
    from fastpath.config import Config
    from fastpath.data.residency import ResidencyChoice
    from fastpath.runtime import Runtime
    from fastpath.workflows.train.folds import Watch


def watch(verbosity: int, runtime: Runtime) -> Watch:
    """Return what shows each training under its name."""
    from fastpath.cli.train_view import TrainView

    @contextmanager
    def shown(name: str) -> Iterator[Callable[[Any], None]]:
        render.say(name, "bold", on_stderr=True)
        with TrainView(verbosity, runtime) as view:
            yield view.show

    return shown


def train_folds(
    store: Path,
    output: Path,
    settings: Config,
    runtime: Runtime,
    num_folds: int,
    *,
    resume: bool,
    split_file: Path | None,
    residency: ResidencyChoice,
    trackers: tuple[str, ...],
    as_json: bool,
    verbosity: int,
) -> None:
    """Train folds and print what they scored."""
    from fastpath.cli.main import INTERRUPTED
    from fastpath.workflows.train import folds

    result = folds.train_folds(
        store,
        output,
        settings,
        runtime,
        num_folds,
        resume=resume,
        split_file=split_file,
        residency=residency,
        trackers=trackers,
        watch=watch(verbosity, runtime),
        notice=render.notice,
    )
    if result.status == "interrupted":
        again = command_line("fastpath", "train", store, "-o", output, "--folds", num_folds, "--resume")
        render.notice(f"stopped where it can go on: {again}")
        click.get_current_context().exit(INTERRUPTED)
    for text in result.notices:
        render.notice(text)
    values = asdict(result)
    if not as_json:
        del values["sites"]  # a table of its own, in folds.json; what it comes to is among the notices
        values["aucs"] = ", ".join(f"{auc:.4f}" for auc in result.aucs)
    next_command = ("fastpath", "evaluate", output)
    render.result(values, as_json=as_json, title=f"{num_folds} folds", location=output, following=next_command)


def measure_leak(
    stores: tuple[Path, ...],
    output: Path | None,
    runtime: Runtime,
    *,
    splits: str,
    settings: Config,
    folds: int | None,
    as_json: bool,
    verbosity: int,
) -> None:
    """Train a recipe by patch and by slide, and print the difference."""
    from fastpath.cli.main import INTERRUPTED
    from fastpath.errors import UsageError
    from fastpath.workflows.compare import leak

    leak.parse_kinds(splits)
    if len(stores) != 1 or output is None:
        problem = f"{len(stores)} arguments and {'no ' if output is None else ''}-o"
        example = "write 'fastpath compare --splits random,group STORE --config TOML -o DIR'"
        raise UsageError("--splits", f"found {problem}, wanted one store and -o", example)
    found_leak = leak.measure_leak(
        stores[0], output, settings, runtime, num_folds=folds or 0, watch=watch(verbosity, runtime)
    )
    if found_leak.status == "interrupted":
        render.notice("stopped where it can go on: run the same again")
        click.get_current_context().exit(INTERRUPTED)
    for text in found_leak.notices:
        render.notice(text)
    next_command = following.split(stores[0], "--kind", "group")
    render.result(
        asdict(found_leak), as_json=as_json, title=found_leak.verdict, location=output, following=next_command
    )
