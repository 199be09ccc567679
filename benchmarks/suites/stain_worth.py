"""What stain normalisation is worth beside stain augmentation: a small network, several seeds, real patches.

Each way trains the baseline network on the same real patches and scores the same others: as they are, and with their
stains changed as another laboratory's might be. The split is by patch, since nothing tells the slides of the sample, so
patches of one slide lie on both sides and every AUC is optimistic; differences between ways are of interest, and their
intervals resample patches, so they are too narrow as well.

Usage: python -m benchmarks.suites.stain_worth [--folder KAGGLE_FOLDER] [--seeds 3] [--epochs 4] [--size 32]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks import harness
from benchmarks.suites.notebook_chain import MemoryPatches
from fastpath.config import Config, parse
from fastpath.data.colour import shift_stains
from fastpath.ingest.split import read_split
from fastpath.ingest.stain import METHODS, normaliser
from fastpath.runtime import Runtime, resolve
from fastpath.shards.reader import open_store
from fastpath.types import Split
from fastpath.workflows import pack, train
from fastpath.workflows.score_views import score
from fastpath.workflows.trained import open_run

WAYS = {
    "neither": ("none", 0.0),
    "stain augmentation 0.1": ("none", 0.1),
    "Macenko": ("macenko", 0.0),
    "Reinhard": ("reinhard", 0.0),
    "Macenko and augmentation": ("macenko", 0.1),
}
# Factors of haematoxylin, eosin and DAB, then shifts of their optical densities.
LABORATORIES: dict[str, list[list[float]] | None] = {
    "as they are": None,
    "more haematoxylin, less eosin": [[1.3, 0.7, 1.0], [0.0, 0.0, 0.0]],
    "less haematoxylin, more eosin": [[0.7, 1.3, 1.0], [0.0, 0.0, 0.0]],
}
DRAWS = 500


class Stained(MemoryPatches):
    """Patches whose stains were normalised one way."""

    def __init__(self, images_NHWC: NDArray[np.uint8], stain: str) -> None:
        super().__init__(images_NHWC)
        self.stain = stain


def of_laboratory(images_NHWC: NDArray[np.uint8], change: list[list[float]] | None) -> NDArray[np.uint8]:
    """Return patches as another laboratory would have stained them, uint8 [N, H, W, 3]."""
    if change is None:
        return images_NHWC
    pixels_NK3 = images_NHWC.reshape(len(images_NHWC), -1, 3).astype(np.float32) / 255
    moved = shift_stains(pixels_NK3, np.broadcast_to(np.array(change), (len(images_NHWC), 2, 3)))
    return np.rint(moved * 255).astype(np.uint8).reshape(images_NHWC.shape)


def config_of(augmentation: float, seed: int, epochs: int, size_px: int) -> Config:
    """Return a run's configuration: the baseline network from random weights."""
    augment = {"policy": "d4", "stain": augmentation}
    data = {"image_size_px": size_px, "batch_size": 32, "sampling": "natural", "augment": augment}
    model = {"name": "baseline_cnn", "pretrained": False, "trainable": "all"}
    optim = {"lr_head": 1e-3, "lr_trunk": 1e-3, "weight_decay": 0.0}
    rest = {"schedule": {"kind": "onecycle"}, "train": {"epochs": epochs}}
    return parse({"seed": seed, "data": data, "model": model, "optim": optim, **rest})


def logits_of(
    folder: Path, way: str, seed: int, shown: dict[str, NDArray[np.uint8]], runtime: Runtime, **settings: int
) -> dict[str, NDArray[np.float32]]:
    """Train one run and return its logits of the held patches by laboratory, float32 [N] each."""
    method, augmentation = WAYS[way]
    run_dir = folder / f"{way} {seed}"
    train.run(folder / method, run_dir, config_of(augmentation, seed, **settings), runtime)
    normalise, run = normaliser(method), open_run(run_dir, "last")
    found = {}
    for name, images in shown.items():
        seen = Stained(np.stack([normalise(image) for image in images]), method)
        found[name] = score(run, seen, np.arange(len(images)), runtime)
    return found


def table_of(auc: dict[str, dict[str, list[float]]], gain: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return a Markdown table: mean AUC over seeds, and the difference from neither with its interval."""
    lines = [f"| | {' | '.join(LABORATORIES)} |", "|---" * (1 + len(LABORATORIES)) + "|"]
    for way, by_laboratory in auc.items():
        cells = []
        for name, values in by_laboratory.items():
            mean, low, high = gain[way][name]
            told = "" if way == "neither" else f" ({mean:+.3f}, {low:+.3f} to {high:+.3f})"
            cells.append(f"{np.mean(values):.3f}{told}")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def gains(
    labels_N: NDArray[np.int8], logits: dict[str, dict[str, list[NDArray[np.float32]]]]
) -> dict[str, dict[str, list[float]]]:
    """Return the mean difference in AUC from neither over seeds: itself and its bootstrap interval over patches."""
    rng = np.random.default_rng(0)
    draws = [np.arange(len(labels_N)), *rng.integers(0, len(labels_N), (DRAWS, len(labels_N)))]
    found: dict[str, dict[str, list[float]]] = {way: {} for way in logits}
    for name in LABORATORIES:
        mean = {
            way: [np.mean([roc_auc_score(labels_N[draw], one[draw]) for one in by[name]]) for draw in draws]
            for way, by in logits.items()
        }
        for way, values in mean.items():
            differences = np.array(values) - np.array(mean["neither"])
            found[way][name] = [float(differences[0]), *map(float, np.percentile(differences[1:], [2.5, 97.5]))]
    return found


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--epochs", type=int, default=4, show_default=True)
@click.option("--size", type=int, default=32, show_default=True, help="Side of the network's input, in pixels.")
def main(folder: Path | None, seeds: int, epochs: int, size: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    runtime = resolve("cpu")
    logits: dict[str, dict[str, list[Any]]] = {way: {name: [] for name in LABORATORIES} for way in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        for method in METHODS:
            pack.run(folder, Path(scratch) / method, pack.PackOptions(stain=method), workers=1)
        store = open_store(Path(scratch) / "none")
        rows = read_split(store).rows(Split.VAL)
        labels_N, images = store.labels_N[rows], store.gather(rows)
        shown = {name: of_laboratory(images, change) for name, change in LABORATORIES.items()}
        for seed in range(seeds):
            for way in WAYS:
                made = logits_of(Path(scratch), way, seed, shown, runtime, epochs=epochs, size_px=size)
                for name, logits_N in made.items():
                    logits[way][name].append(logits_N)
                click.echo(f"{seed} {way}: {[round(roc_auc_score(labels_N, one), 4) for one in made.values()]}")
    auc = {
        way: {name: [float(roc_auc_score(labels_N, one)) for one in found] for name, found in by.items()}
        for way, by in logits.items()
    }
    lines = table_of(auc, gain := gains(labels_N, logits))
    click.echo("\n".join(lines))
    told = {"network": f"baseline_cnn at {size} px, {epochs} epochs", "seeds": seeds, "held patches": len(labels_N)}
    told |= {"data": f"{folder.name}, real patches, random split by patch: optimistic"}
    told |= {"interval": f"95 %, bootstrap of the held patches ({DRAWS} draws) as if independent, mean over seeds"}
    click.echo(f"→ {harness.write_record('stain-worth', told, {'auc': auc, 'gain': gain}, chr(10).join(lines))}")


if __name__ == "__main__":
    main()
