"""How far the graph is from the notebook's own chain of Pillow and torchvision: the mean, the tail, and where.

The same patches with the same parameters go through the graph, through the notebook's chain (Pillow images, bytes after
every step, rotation by the nearest pixel) and through what lies between the two. Then colour alone, by what the pixel
was: one affine map a patch cannot clamp, and follows most pixels, not all.

Usage: python -m benchmarks.suites.notebook_chain [--folder KAGGLE_FOLDER] [--patches 256]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.peers.common import MEAN, STD
from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.data import loader, reference
from fastpath.data.augment import draw
from fastpath.data.augment.draw import BRIGHTNESS, Augmentation
from fastpath.runtime import Runtime, resolve
from fastpath.types import ChannelStats, Samples

SIZE, BATCH = 224, 64
STATS = ChannelStats(MEAN, STD)
STILL = {"hflip": 0.0, "rotation_deg": 0.0, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
NOTEBOOK, COLOUR_ALONE = AugmentConfig(), AugmentConfig.model_validate(STILL)
BIN = 0.05  # grey levels; percentiles are told to this
FAR = 25  # grey levels, a tenth of the range

GRAPH, CHAIN, SMOOTH = "the graph", "the notebook's chain", "the chain, rotated bilinearly"
FLOAT, FLOAT_NEAREST = "the chain in floating point, rotated bilinearly", "the chain in floating point"
PAIRS = ((GRAPH, CHAIN), (GRAPH, SMOOTH), (GRAPH, FLOAT), (GRAPH, FLOAT_NEAREST), (CHAIN, SMOOTH))

Measures = dict[str, float]
Step = tuple[torch.Tensor, torch.Tensor, Augmentation]
"""What the graph made, float32 [N, 3, H, W]; the patches it made it of, uint8 [N, 3, S, S]; and their parameters."""


class MemoryPatches:
    """What a loader needs of a store, from an array uint8 [N, S, S, 3]."""

    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        self.images_NHWC, self.patch_size_px = images_NHWC, images_NHWC.shape[1]
        self.labels_N = np.zeros(len(images_NHWC), np.int8)

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the patches of these rows."""
        if out_NHWC is None:
            return self.images_NHWC[indices_N]
        out_NHWC[:] = self.images_NHWC[indices_N]
        return out_NHWC


class Distances:
    """Signed distances in grey levels, counted as they come: any number of them in the same memory."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(512 / BIN), np.int64)
        self._sum = self._sum_absolute = 0.0

    def add(self, signed: NDArray[np.float32]) -> None:
        """Count some more."""
        absolute = np.abs(signed)
        self._sum, self._sum_absolute = self._sum + float(signed.sum()), self._sum_absolute + float(absolute.sum())
        places = np.minimum(absolute / BIN, len(self._counts) - 1).astype(np.int64)
        self._counts += np.bincount(places.ravel(), minlength=len(self._counts))

    def measures(self) -> Measures:
        """Return mean, signed mean, percentiles, the share beyond 25 levels and the number of values."""
        count = int(self._counts.sum())
        below = np.cumsum(self._counts) / max(1, count)
        at = {f"p{share:g}": float((np.searchsorted(below, share / 100) + 1) * BIN) for share in (95, 99, 99.9)}
        far = float(self._counts[round(FAR / BIN) :].sum() / max(1, count))
        mean, signed = (total / max(1, count) for total in (self._sum_absolute, self._sum))
        return {"mean": mean, "signed": signed, **at, "far": far, "values": count}


def read(folder: Path, patches: int) -> NDArray[np.uint8]:
    """Return so many real patches, evenly over a folder in the Kaggle layout, uint8 [N, S, S, 3]."""
    files = sorted((folder / "train").glob("*.tif"))
    taken = np.linspace(0, len(files) - 1, patches).astype(np.int64)
    return np.stack([tifffile.imread(files[place]) for place in taken])


def steps(images_NHWC: NDArray[np.uint8], policy: AugmentConfig, runtime: Runtime) -> Iterator[Step]:
    """Yield an epoch of the graph with what it was made of."""
    patches, rows = MemoryPatches(images_NHWC), np.arange(len(images_NHWC))
    data = DataConfig(image_size_px=SIZE, batch_size=BATCH, sampling="natural", augment=policy)
    config = Config(seed=42, data=data)
    for step, batch in enumerate(loader.train_loader(Samples(patches, rows, STATS), config, runtime).epoch(0)):
        first = step * BATCH
        drawn = draw.draw_augmentation(policy, SIZE, config.seed, 0, range(first, first + len(batch.indices_N)))
        sources = torch.from_numpy(patches.gather(batch.indices_N.numpy())).permute(0, 3, 1, 2)
        yield batch.images_NCHW, sources, drawn


def to_the_chain(images_NHWC: NDArray[np.uint8], runtime: Runtime) -> dict[str, Measures]:
    """Return the distances between graph, chain and what lies between them, with everything the notebook draws."""
    distances_of_pair = {pair: Distances() for pair in PAIRS}
    for graph_NCHW, sources, drawn in steps(images_NHWC, NOTEBOOK, runtime):
        made = {
            GRAPH: graph_NCHW,
            CHAIN: reference.notebook_images(sources, drawn, SIZE, STATS),
            SMOOTH: reference.notebook_images(sources, drawn, SIZE, STATS, rotation=reference.BILINEAR),
            FLOAT: reference.training_images(sources, drawn, SIZE, STATS),
            FLOAT_NEAREST: reference.training_images(sources, drawn, SIZE, STATS, rotation=reference.NEAREST),
        }
        for first, other in PAIRS:
            distances_of_pair[first, other].add(_grey(made[first] - made[other]))
    return {f"{first} to {other}": distances.measures() for (first, other), distances in distances_of_pair.items()}


def of_colour(images_NHWC: NDArray[np.uint8], runtime: Runtime) -> dict[str, Measures]:
    """Return the distance of the fitted colour map from the exact jitter, by what patch and pixel were."""
    distances_by_name: dict[str, Distances] = {}
    for graph_NCHW, sources, drawn in steps(images_NHWC, COLOUR_ALONE, runtime):
        exact = reference.training_images(sources, drawn, SIZE, STATS)
        before = _levels(reference.evaluation_images(sources, SIZE, STATS))
        signed = _grey(graph_NCHW - exact)
        for name, mask in _strata(before, _levels(exact), drawn).items():
            distances_by_name.setdefault(name, Distances()).add(signed[np.broadcast_to(mask, signed.shape)])
    return {name: distances.measures() for name, distances in distances_by_name.items()}


def _strata(
    before: NDArray[np.float32], exact: NDArray[np.float32], drawn: Augmentation
) -> dict[str, NDArray[np.bool_]]:
    """Return which values belong to which part, each mask broadcasts to [N, 3, H, W]."""
    brightness = drawn.factors_N4[:, BRIGHTNESS, None, None, None]
    brightest = before.max(axis=1, keepdims=True)
    chroma = brightest - before.min(axis=1, keepdims=True)
    return {
        "all": np.ones((1, 1, 1, 1), bool),
        "brightness below 0.9": brightness < 0.9,
        "brightness 0.9 to 1.1": (brightness >= 0.9) & (brightness <= 1.1),
        "brightness above 1.1": brightness > 1.1,
        "brightness above 1.1, value clamped at white": (brightness > 1.1) & (exact >= 254.5),
        "value clamped at white": exact >= 254.5,
        "value not clamped": exact < 254.5,
        "pixel near white, all channels above 200": before.min(axis=1, keepdims=True) > 200,
        "pixel near grey, chroma below 16, not white": (chroma < 16) & (brightest < 200),
        "pixel of chroma 16 to 64": (chroma >= 16) & (chroma < 64),
        "pixel of chroma above 64": chroma >= 64,
        "pixel dark, all channels below 64": brightest < 64,
    }


def _levels(normalised: torch.Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = _grey(normalised) + 255 * np.array(MEAN, np.float32)[:, None, None]
    return values


def _grey(normalised: torch.Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = (normalised * torch.tensor(STD)[:, None, None] * 255).numpy()
    return values


def table_of(results: dict[str, Measures], first: str) -> list[str]:
    """Return a Markdown table."""
    head = f"| {first} | mean | signed mean | P95 | P99 | P99.9 | beyond {FAR} |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, row in results.items():
        levels = f"{row['mean']:.2f} | {row['signed']:+.2f} | {row['p95']:.1f} | {row['p99']:.1f} | {row['p99.9']:.1f}"
        lines.append(f"| {name} | {levels} | {row['far']:.2%} |")
    return lines


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--patches", type=int, default=256, show_default=True)
def main(folder: Path | None, patches: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    torch.set_num_threads(1)  # one image at a time gains nothing from more
    images_NHWC, runtime = read(folder, patches), resolve("cpu")
    results = {"everything": to_the_chain(images_NHWC, runtime), "colour": of_colour(images_NHWC, runtime)}
    lines = [*table_of(results["everything"], "from, to"), "", *table_of(results["colour"], "colour alone")]
    click.echo("\n".join(lines))
    settings = {"patches": patches, "size": SIZE, "data": f"{folder.name}, real patches", "unit": "grey levels"}
    click.echo(f"→ {harness.write_record('notebook-chain', settings, results, chr(10).join(lines))}")


if __name__ == "__main__":
    main()
