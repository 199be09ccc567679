"""`fastpath show`."""

from __future__ import annotations

from pathlib import Path

import click

from fastpath.cli import following, machine, options, param_types, render
from fastpath.errors import UsageError


@options.command("show", "data")
@options.store_argument()
@click.argument("more_ids", nargs=-1, metavar="")
@options.output("Where to write.")
@click.option(
    "--ids",
    multiple=True,
    metavar="ID...",
    help="Show these patches as they are stored; the beginning of an id will do.",
)
@click.option(
    "--epoch", type=param_types.Count(min=0), help="Show samples as training sees them in this epoch, from 0 …"
)
@click.option("--position", type=param_types.Count(min=0), help="… at this position of it, from 0.")
@click.option("--count", type=click.IntRange(1, 1024), default=1, show_default=True, help="Consecutive positions.")
@click.option("--fold", type=param_types.Count(min=0), help="Held out; default: the one the split was written with.")
@options.split_file()
@options.config()
@options.seed()
@options.overrides()
@options.common
def command(
    store: Path,
    more_ids: tuple[str, ...],
    output: Path,
    ids: tuple[str, ...],
    epoch: int | None,
    position: int | None,
    count: int,
    fold: int | None,
    split_file: Path | None,
    config_path: Path | None,
    seed: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
    verbosity: int,
) -> None:
    """Show patches as stored, or the very samples that training sees.

    Writes a PNG file for each, overview.png with all of them and show.json with what is known of them: with --epoch
    and --position also the augmentation that was drawn. The labelled centre is framed.

    \b
    Example:  fastpath show store --ids ID ID -o shown
              fastpath show store --epoch 3 --position 17 --count 8 --config notebook -o shown
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    if more_ids and not ids:
        raise UsageError("arguments", f"found '{more_ids[0]}' after the store", "name patches with --ids")
    if bool(ids) == (epoch is not None or position is not None) or (epoch is None) != (position is None):
        problem = "wanted either --ids, or --epoch and --position"
        raise UsageError("arguments", problem, "see 'fastpath show --help'")
    if epoch is None or position is None:
        from fastpath.workflows.show import show

        result = show.patches(store, output, [*ids, *more_ids], split_file=split_file)
    else:
        from fastpath import config

        settings = config.load(config_path, [*overrides, *([] if seed is None else [f"seed={seed}"])])
        from fastpath.workflows.show import show_samples  # takes seconds: what is wrong with a setting comes before

        runtime = machine.choose("cpu", "float32")  # a handful of samples, on whatever machine is at hand
        result = show_samples.show_samples(
            store,
            output,
            settings,
            runtime,
            epoch=epoch,
            position=position,
            count=count,
            fold=fold,
            split_file=split_file,
        )
    values = {"shown": result.shown, "overview": str(result.overview)}
    if not as_json:
        for facts in result.shown:
            place = f"position {facts['position']}: " if "position" in facts else ""
            render.say(f"{place}{facts['id']}, {facts['label']}, row {facts['row']}")
    picture, next_command = following.to_open(result.output, "overview.png"), following.inspect(store)
    render.result(values, as_json=as_json, title="shown", location=picture, following=next_command)
