"""What stain normalisation is worth beside stain augmentation: a small network, several seeds, real patches.

Each way trains the same network of three convolutions on the same real patches, averaged down to 32 pixels, and scores
the same others: as they are, and with their stains changed as another laboratory's might be. Nothing tells the slides
of the sample, so the split is by patch, patches of one slide lie on both sides, and every AUC is optimistic. Intervals
of differences resample held patches as if they were independent, so they are too narrow as well.

Usage: python -m benchmarks.suites.stain_worth [--folder KAGGLE_FOLDER] [--seeds 3] [--train 2000] [--held 1000]
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from benchmarks import harness
from benchmarks.suites.fed_size import read_labelled
from fastpath.data.augment.colour import shift_stains
from fastpath.ingest.stain import METHODS, Stain, normaliser

SMALL_PX, BATCH, EPOCHS, RATE = 32, 50, 6, 5e-3
WAYS: dict[str, tuple[Stain, float]] = {
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
DRAWS = 200

Images = NDArray[np.uint8]
Logits = dict[str, dict[str, list[NDArray[np.float32]]]]
"""By way and laboratory, a row of logits a seed."""


def of_laboratory(images_NHWC: NDArray[np.uint8], change: list[list[float]] | None) -> NDArray[np.uint8]:
    """Return patches as another laboratory would have stained them, uint8 [N, H, W, 3]."""
    if change is None:
        return images_NHWC
    pixels_NK3 = np.divide(images_NHWC.reshape(len(images_NHWC), -1, 3), 255, dtype=np.float32)
    moved = shift_stains(pixels_NK3, np.broadcast_to(np.array(change), (len(images_NHWC), 2, 3)))
    return np.rint(moved * 255).astype(np.uint8).reshape(images_NHWC.shape)


def small(images_NHWC: Images, method: str) -> NDArray[np.float32]:
    """Return patches normalised and averaged down, float32 [N, 32, 32, 3] in 0 to 1."""
    normalise, side = normaliser(method), images_NHWC.shape[1] // SMALL_PX
    made = np.stack([normalise(image) for image in images_NHWC]).astype(np.float32) / 255
    shape = (len(made), SMALL_PX, side, SMALL_PX, side, 3)
    averaged: NDArray[np.float32] = made.reshape(shape).mean(axis=(2, 4))
    return averaged


def network() -> nn.Module:
    """Return three convolutions, each with BatchNorm and half the side, and a linear head."""
    layers: list[nn.Module] = []
    for before, after in ((3, 12), (12, 24), (24, 48)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0))


def trained(images_NHWC: NDArray[np.float32], labels_N: NDArray[np.int64], reach: float, seed: int) -> nn.Module:
    """Train from random weights with D4 and, where `reach` is above 0, stain augmentation of `data.augment.stain`."""
    torch.manual_seed(seed)
    rng, model, targets_N = np.random.default_rng(seed), network(), torch.from_numpy(labels_N).float()
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    steps = EPOCHS * len(labels_N) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        seen_NHWC = images_NHWC if reach == 0 else jittered(images_NHWC, reach, rng)
        images_NCHW = torch.from_numpy(seen_NHWC).permute(0, 3, 1, 2)
        for rows in torch.split(torch.from_numpy(rng.permutation(len(labels_N))), BATCH):
            batch = torch.rot90(images_NCHW[rows], int(rng.integers(4)), (2, 3))
            batch = batch.flip(3) if rng.integers(2) else batch
            loss = functional.binary_cross_entropy_with_logits(model(batch - 0.6), targets_N[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return model.eval()


def jittered(images_NHWC: NDArray[np.float32], reach: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return patches whose stains are scaled and shifted as `data.augment.stain` draws it."""
    count = len(images_NHWC)
    change = np.stack([rng.uniform(1 - reach, 1 + reach, (count, 3)), rng.uniform(-reach, reach, (count, 3))], axis=1)
    return shift_stains(images_NHWC.reshape(count, -1, 3), change).reshape(images_NHWC.shape)


def scored(model: nn.Module, images_NHWC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits, float32 [N]."""
    with torch.inference_mode():
        logits_N: NDArray[np.float32] = model(torch.from_numpy(images_NHWC).permute(0, 3, 1, 2) - 0.6).numpy()
    return logits_N


def table_of(auc: dict[str, dict[str, list[float]]], gain: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return a Markdown table: mean AUC over seeds, and the difference from neither with its interval."""
    lines = [f"| | {' | '.join(LABORATORIES)} |", "|---" * (1 + len(LABORATORIES)) + "|"]
    for way, by_laboratory in auc.items():
        cells = []
        for name, values in by_laboratory.items():
            mean, low, high = gain[way][name]
            change = "" if way == "neither" else f" ({mean:+.3f}, {low:+.3f} to {high:+.3f})"
            cells.append(f"{np.mean(values):.3f}{change}")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def gains(labels_N: NDArray[np.int64], logits: Logits) -> dict[str, dict[str, list[float]]]:
    """Return the mean difference in AUC from neither over seeds: itself and its bootstrap interval over patches."""
    rng = np.random.default_rng(0)
    draws = [np.arange(len(labels_N)), *rng.integers(0, len(labels_N), (DRAWS, len(labels_N)))]
    gain_of_way: dict[str, dict[str, list[float]]] = {way: {} for way in logits}
    for name in LABORATORIES:
        mean = {
            way: [np.mean([roc_auc_score(labels_N[draw], logits_N[draw]) for logits_N in by[name]]) for draw in draws]
            for way, by in logits.items()
        }
        for way, values in mean.items():
            differences = np.array(values) - np.array(mean["neither"])
            gain_of_way[way][name] = [float(differences[0]), *map(float, np.percentile(differences[1:], [2.5, 97.5]))]
    return gain_of_way


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--train", "num_train", type=int, default=2000, show_default=True, help="Patches trained on.")
@click.option("--held", "num_held", type=int, default=1000, show_default=True, help="Patches scored.")
def main(folder: Path | None, seeds: int, num_train: int, num_held: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    torch.set_num_threads(1)
    images, labels_N = read_labelled(folder, num_train + num_held)
    order = np.random.default_rng(42).permutation(len(images))
    fitted, held = order[num_held:], order[:num_held]
    shown = {
        method: {name: small(of_laboratory(images[held], change), method) for name, change in LABORATORIES.items()}
        for method in METHODS
    }
    given = {method: small(images[fitted], method) for method in METHODS}
    logits: Logits = {way: {name: [] for name in LABORATORIES} for way in WAYS}
    for seed in range(seeds):
        for way, (method, reach) in WAYS.items():
            model = trained(given[method], labels_N[fitted], reach, seed)
            for name in LABORATORIES:
                logits[way][name].append(scored(model, shown[method][name]))
            click.echo(
                f"{seed} {way}: {[round(roc_auc_score(labels_N[held], by[-1]), 3) for by in logits[way].values()]}"
            )
    auc = {
        way: {
            name: [float(roc_auc_score(labels_N[held], logits_N)) for logits_N in logits_by_seed]
            for name, logits_by_seed in by.items()
        }
        for way, by in logits.items()
    }
    gain = gains(labels_N[held], logits)
    lines = table_of(auc, gain)
    click.echo("\n".join(lines))
    setup = {"network": f"three convolutions at {SMALL_PX} px, {EPOCHS} epochs", "seeds": seeds}
    setup |= {"trained on": len(fitted), "held": len(held)}
    setup |= {"data": f"{folder.name}, real patches, random split by patch: optimistic"}
    setup |= {"interval": f"95 %, bootstrap of the held patches ({DRAWS} draws) as if independent, mean over seeds"}
    click.echo(f"→ {harness.write_record('stain-worth', setup, {'auc': auc, 'gain': gain}, chr(10).join(lines))}")


if __name__ == "__main__":
    main()
