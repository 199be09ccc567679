"""The notebook's own check of its loader: channels of a normalised epoch have mean 0 and deviation 1.

All real patches of the training split, normalised as training normalises them, with the statistics found on packing.

Usage: python -m benchmarks.suites.normalised [--folder KAGGLE_FOLDER]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import torch

from benchmarks import harness
from fastpath.config import Config, DataConfig
from fastpath.data import loader
from fastpath.runtime import Runtime, resolve
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.types import ChannelStats, Samples, Split
from fastpath.workflows import pack


def channels(store: Store, runtime: Runtime, size: int) -> dict[str, list[float]]:
    """Return mean and deviation of red, green and blue over an epoch of `size` pixels without augmentation."""
    split = read_split(store)
    rows, stats = split.rows(Split.TRAIN), ChannelStats(split.mean_3, split.std_3)
    config = Config(data=DataConfig(image_size_px=size, batch_size=64))
    sums, squares, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
    for batch in loader.eval_loader(Samples(store, rows, stats), config, runtime):
        images = batch.images_NCHW.double()
        sums += images.sum(dim=(0, 2, 3))
        squares += images.square().sum(dim=(0, 2, 3))
        count += images[:, 0].numel()
    mean = sums / count
    return {"mean": mean.tolist(), "deviation": (squares / count - mean**2).sqrt().tolist()}


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
def main(folder: Path | None) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        pack.pack_source(folder, Path(scratch) / "store")
        store = open_store(Path(scratch) / "store")
        channels_of_size = {f"at {size} px": channels(store, resolve("cpu"), size) for size in (96, 224)}
    table = ["| epoch | | red | green | blue |", "|---|---|---|---|---|"]
    for epoch, measures in channels_of_size.items():
        for name, values in measures.items():
            table.append(f"| {epoch} | {name} | {' | '.join(f'{value:+.5f}' for value in values)} |")
    click.echo("\n".join(table))
    setup = {
        "data": f"{folder.name}, real patches, training split",
        "normalised with": "the statistics found on packing",
    }
    click.echo(f"→ {harness.write_record('normalised', setup, channels_of_size, chr(10).join(table))}")


if __name__ == "__main__":
    main()
