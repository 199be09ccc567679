"""`fastpath config`: the settings there are, without a look into files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastpath.cli import options, param_types, render


@options.command("config", "train")
@click.argument("what", type=click.Choice(["list", "show", "keys"]))
@click.argument("name", required=False)
@options.overrides("With show, change one setting; may be repeated.")
@options.answers
def command(what: Literal["list", "show", "keys"], name: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """List recipes, show one or a run's settings, or explain the keys.

    NAME is, for show, a recipe, a TOML file, or a run's directory (default: what differs from the defaults, nothing);
    for keys, a pattern or the beginning of some. With --json, show prints every setting, the defaults included.

    \b
    Example:  fastpath config list
              fastpath config show fast_lite0 > mine.toml
              fastpath config show runs/first --set train.epochs=5
              fastpath config keys data.augment
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from fastpath.workflows import config

    if overrides and what != "show":
        raise click.UsageError(f"--set goes with 'config show', not with 'config {what}'.")
    if what == "list":
        _list(as_json)
    elif what == "keys":
        _keys(name, as_json)
    elif as_json:
        from fastpath.config import load

        render.result(load(_source(name), overrides).to_dict(), as_json=True, title="")
    else:
        click.echo(config.written(_source(name), overrides), nl=False)


def _source(name: str | None) -> Path | None:
    """Return the file that a name stands for, as `--config` takes it."""
    return None if name is None else param_types.RECIPE.convert(name, None, click.get_current_context())


def _list(as_json: bool) -> None:
    from fastpath.workflows import config

    recipes = config.recipes()
    if as_json:
        render.result({"recipes": recipes}, as_json=True, title="")
        return
    table = render.table("", "recipe", "what it is")
    for name, sentence in recipes.items():
        render.add_row(table, name, sentence)
    render.console().print(table)


def _keys(pattern: str | None, as_json: bool) -> None:
    from fastpath.workflows import config

    keys = config.keys(pattern)
    if as_json:
        render.result({"keys": keys}, as_json=True, title="")
        return
    for key in keys:
        render.say(f"{key['key']} = {key['default']}", "bold")
        render.say(f"    {key['meaning']}")
