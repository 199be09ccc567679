"""Write a folder of synthetic patches in the Kaggle layout.

Example:
    python tools/make_patches.py patches --train 2000 --test 200 --slides 12 --seed 1
"""

from __future__ import annotations

from pathlib import Path

import click

from fastpath.cli import options, param_types, render
from fastpath.errors import FastpathError
from fastpath.ingest.synth import write_kaggle_folder


@click.command()
@click.argument("folder", type=param_types.PATH)
@click.option("--train", "num_train", type=int, default=1000, show_default=True, help="Labelled patches.")
@click.option("--test", "num_test", type=int, default=100, show_default=True, help="Patches without a label.")
@click.option("--slides", "num_slides", type=int, default=8, show_default=True, help="Slides behind the labelled ones.")
@options.seed(0)
def main(folder: Path, num_train: int, num_test: int, num_slides: int, seed: int) -> None:
    """Write synthetic patches to FOLDER: TIFFs, labels, groups and a sample submission. Same seed, same bytes."""
    try:
        with render.progress_bar("patches", 0) as advance:
            write_kaggle_folder(
                folder, num_train=num_train, num_test=num_test, num_slides=num_slides, seed=seed, advance=advance
            )
    except FastpathError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"→ {folder}")


if __name__ == "__main__":
    main()
