"""`fastpath demo`: the whole road on synthetic patches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastpath.cli import following, machine, options, param_types, render
from fastpath.text import command_line

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice
    from fastpath.workflows.demo import Watch


@options.command("demo", "start")
@click.option(
    "-o",
    "--output",
    type=param_types.OUTPUT,
    default=Path("fastpath-demo"),
    show_default=True,
    help="Where everything goes; what an earlier demo wrote there is replaced.",
)
@options.precision("auto", text="amp")
@options.device()
@options.seed()
@click.option(
    "--patches", "num_train", type=param_types.Count(min=200), help="Labelled patches to draw.  [default: 2000]"
)
@options.overrides()
@options.common
def command(
    output: Path,
    precision: PrecisionChoice,
    device: str,
    seed: int | None,
    num_train: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
    verbosity: int,
) -> None:
    """See all of it in two minutes, on patches drawn for the purpose.

    Draws synthetic patches, packs and verifies them, trains a small network with mixed precision, and evaluates it.

    Takes a minute or two on a laptop's CPU. Exits 1 where the AUC on slides not trained on is below 0.90.

    \b
    Example:  fastpath demo
              fastpath demo -o /tmp/demo --device cuda
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.cli.main import INTERRUPTED
    from fastpath.cli.train_view import TrainView
    from fastpath.errors import FastpathError
    from fastpath.workflows import demo

    @contextmanager
    def watch() -> Iterator[Watch]:
        with TrainView(verbosity, runtime) as view:
            yield view.show

    runtime = machine.choose(device, precision, plainly=True)
    result = demo.run_demo(
        output,
        runtime,
        seed=seed,
        num_train=num_train or demo.NUM_TRAIN,
        overrides=overrides,
        progress=lambda stage: render.progress_bar(stage, verbosity),
        watch=watch,
    )
    if result is None:
        render.notice(f"stopped while training; start again with: {command_line('fastpath', 'demo', '-o', output)}")
        click.get_current_context().exit(INTERRUPTED)
    for text in result.notices:
        render.notice(text)
    values = asdict(result)
    if not as_json:
        seconds = values.pop("seconds")
        values["seconds"] = ", ".join(f"{name} {value}" for name, value in seconds.items())
    page = following.to_open(result.evaluation, "report.html")
    next_command = following.explain(Path(result.run), 0)
    render.result(values, as_json=as_json, title="demo", location=page, following=next_command)
    if not result.passed:
        remedy = "train longer with --set train.epochs=10, or report this"
        raise FastpathError("demo", f"found AUC {result.auc:.4f}, wanted at least {result.wanted}", remedy)
