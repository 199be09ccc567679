"""`fastpath split`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import click

from fastpath.cli import following, options, param_types, render
from fastpath.errors import UsageError


@options.command("split", "data")
@options.store_argument()
@click.option(
    "--kind",
    type=click.Choice(["random", "group", "site", "csv", "official"]),
    help="By patch, stratified; by whole slides; leave one site out, a fold for each; as a table says; or "
    "PatchCamelyon's own. Default: group where slides are known.",
)
@click.option("--val", type=param_types.Number(0, 1, min_open=True, max_open=True), default=0.2, show_default=True)
@click.option(
    "--test",
    type=param_types.Number(0, 1, min_open=True, max_open=True),
    help="Keep this share apart, whole slides where they are known, for 'evaluate --split test'. Default: none.",
)
@click.option("--folds", type=click.IntRange(2, 36), help="Deal this many folds in place of one division.")
@click.option("--fold", type=click.IntRange(0, 35), default=0, show_default=True, help="The fold that is validation.")
@click.option("--from", "table", type=param_types.PATH, help="CSV of id,split (train, val, test) for --kind csv.")
@click.option(
    "--groups",
    type=param_types.PATH,
    help="Table of id,wsi: the slides of a store that was packed without. The split keeps them; the index stays.",
)
@options.output(
    "The file to write, for a store that is read-only or to have several splits; give it as --split-file then. "
    "Default: the store's own split.json.",
    required=False,
)
@options.seed(42)
@options.common
def command(
    store: Path,
    kind: Literal["random", "group", "site", "csv", "official"] | None,
    val: float,
    test: float | None,
    folds: int | None,
    fold: int,
    table: Path | None,
    groups: Path | None,
    output: Path | None,
    seed: int,
    as_json: bool,
    verbosity: int,
) -> None:
    """Divide a store into training, validation and test patches.

    The division is kept in the store, or in a file elsewhere.

    The validation split chooses the best epoch, and settings where they are compared: figures on it are optimistic. A
    test split has no say in either.

    \b
    Example:  fastpath split store --test 0.1
              fastpath split store --kind group --folds 5 --fold 2
              fastpath split /kaggle/input/store --groups groups.csv -o by-slide.json
    """  # noqa: D301
    from fastpath.workflows import split

    if (kind == "csv") != (table is not None):
        problem = "no table" if table is None else f"--kind {kind}"
        raise UsageError(
            "--from", f"found {problem}, wanted --kind csv and --from CSV together", "give both or neither"
        )
    if table is not None and test is not None:
        raise UsageError(
            "--test", f"found {test:g} with --kind csv, whose table names the test patches", "leave it out"
        )
    shares = {"val": val, "test": test or 0.0}
    division = split.split_store(
        store, kind=kind, **shares, folds=folds or 0, fold=fold, seed=seed, table=table, groups=groups, output=output
    )
    if division.notice:
        render.notice(division.notice)
    values = dataclasses.asdict(division) | {"store": str(division.store), "file": str(division.file)}
    split_file = () if output is None else ("--split-file", output)
    dealt = () if folds is None else ("--folds", folds)
    next_command = following.train(store, *split_file, *dealt, run="first" if folds is None else "folds")
    render.result(values, as_json=as_json, title="divided", location=output or store, following=next_command)
