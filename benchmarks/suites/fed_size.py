"""What it matters by which size's statistics patches are normalised, where the network cannot adapt to it.

Enlarging mixes neighbouring pixels, so patches spread less at 224 than at the 96 they are stored at. A frozen network
sees that. Its features of the same patches, normalised either way, go through the same linear classifier, out of fold;
the two AUCs are compared as DeLong does.

Usage: python -m benchmarks.suites.fed_size --weights lite0.pth [--folder KAGGLE_FOLDER] [--patches 2000]
(recipe efficientnet_lite0 says where the weights come from.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import tifffile
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from benchmarks import harness
from benchmarks.suites.notebook_chain import MemoryPatches
from fastpath.analysis import delong
from fastpath.config import Config, DataConfig, ModelConfig
from fastpath.data import loader
from fastpath.model.registry import build
from fastpath.runtime import Runtime, resolve
from fastpath.types import ChannelStats, Samples

SIZE, BATCH, FOLDS = 224, 50, 5
PENALTY = 0.01  # scikit-learn's C, set beforehand: about as many features as patches
NETWORK = "tf_efficientnet_lite0"


def statistics(patches: MemoryPatches, size_px: int, runtime: Runtime) -> ChannelStats:
    """Return channel means and standard deviations of all pixels of patches resized to `size_px`."""
    plain, sums = ChannelStats((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), torch.zeros((2, 3), dtype=torch.float64)
    count = 0
    for images_NCHW in _images(patches, plain, size_px, runtime):
        values = images_NCHW.double()
        sums += torch.stack([values.sum(dim=(0, 2, 3)), values.square().sum(dim=(0, 2, 3))])
        count += values[:, 0].numel()
    mean, square = sums / count
    return ChannelStats(tuple(mean.tolist()), tuple((square - mean**2).sqrt().tolist()))


def features(patches: MemoryPatches, stats: ChannelStats, model: nn.Module, runtime: Runtime) -> NDArray[np.float64]:
    """Return what a frozen network makes of patches before its head, float64 [N, F]."""
    with torch.inference_mode():
        made = [model(images_NCHW) for images_NCHW in _images(patches, stats, SIZE, runtime)]
    features_ND: NDArray[np.float64] = torch.cat(made).double().numpy()
    return features_ND


def _images(patches: MemoryPatches, stats: ChannelStats, size_px: int, runtime: Runtime) -> Any:  # noqa: ANN401
    config = Config(data=DataConfig(image_size_px=size_px, batch_size=BATCH))
    rows_N = np.arange(len(patches.labels_N))
    return (batch.images_NCHW for batch in loader.eval_loader(Samples(patches, rows_N, stats), config, runtime))


def logits_out_of_fold(features_NF: NDArray[np.float64], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each patch's logit by a classifier that was fitted without it, float64 [N]."""
    logits_N = np.empty(len(labels_N))
    for fitted, held in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(features_NF, labels_N):
        fit = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
        logits_N[held] = fit.fit(features_NF[fitted], labels_N[fitted]).decision_function(features_NF[held])
    return logits_N


def _trunk(weights: Path) -> nn.Module:
    trunk: Any = build(ModelConfig(name=NETWORK, weights=weights, trainable="head"), SIZE).trunk
    trunk.reset_classifier(0)
    frozen: nn.Module = trunk.eval()
    return frozen


def read_labelled(folder: Path, patches: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return so many real patches, evenly over the table of labels: uint8 [N, S, S, 3], and their labels."""
    table = pd.read_csv(folder / "train_labels.csv")
    table = table.iloc[np.linspace(0, len(table) - 1, min(patches, len(table))).astype(np.int64)]
    images = np.stack([tifffile.imread(folder / "train" / f"{name}.tif") for name in table["id"]])
    return images, table["label"].to_numpy()


@click.command()
@click.option("--weights", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--patches", type=int, default=2000, show_default=True)
def main(weights: Path, folder: Path | None, patches: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    runtime = resolve("cpu")
    images_NHWC, labels_N = read_labelled(folder, patches)
    taken = MemoryPatches(images_NHWC)
    model = _trunk(weights)
    stored, fed = statistics(taken, 96, runtime), statistics(taken, SIZE, runtime)
    logits = {
        name: logits_out_of_fold(features(taken, stats, model, runtime), labels_N)
        for name, stats in (("stored", stored), ("fed", fed))
    }
    test = delong.paired_test(labels_N, logits["fed"], logits["stored"])
    low, high = (test.difference + side * 1.96 * test.standard_error for side in (-1, 1))
    results = {
        "std at 96 px": stored.std_3,
        f"std at {SIZE} px": fed.std_3,
        "auc": {"stored": test.auc_b, "fed": test.auc_a},
        "difference": {"fed - stored": test.difference, "low": low, "high": high},
        "correlation of logits": float(np.corrcoef(logits["stored"], logits["fed"])[0, 1]),
    }
    lines = [
        "| normalised by the statistics at | deviation, red green blue | AUC, out of fold |",
        "|---|---|---|",
    ]
    for name, size, stats, auc in (("stored", 96, stored, test.auc_b), ("fed", SIZE, fed, test.auc_a)):
        deviations = " ".join(f"{value:.4f}" for value in stats.std_3)
        lines.append(f"| {size} px, the size that is {name} | {deviations} | {auc:.4f} |")
    lines += [
        "",
        f"Difference {test.difference:+.4f} ({low:+.4f} to {high:+.4f}).",
    ]
    click.echo("\n".join(lines))
    setup = {"patches": len(labels_N), "network": f"{NETWORK}, ImageNet weights, frozen, fed at {SIZE} px"}
    setup |= {"data": f"{folder.name}, real patches", "interval": "DeLong, 95 %, patches taken as independent"}
    click.echo(f"→ {harness.write_record('fed-size', setup, results, chr(10).join(lines))}")


if __name__ == "__main__":
    main()
