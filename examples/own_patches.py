"""From patches in memory to a trained run, and probabilities of new ones: `python examples/own_patches.py FOLDER`.

The patches here are noise of two brightnesses; yours may come from any reader of slides.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import fastpath


def draw(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 patches [num, 48, 48, 3] and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num)
    noise = rng.normal(0, 25, (num, 48, 48, 3))
    return np.clip(150 - 40 * labels[:, None, None, None] + noise, 0, 255).astype(np.uint8), labels


def main(folder: Path) -> None:
    """Write patches in the Kaggle layout, pack them, train on them, and predict others that were never on disk."""
    (folder / "patches" / "train").mkdir(parents=True)
    images, labels = draw(160, seed=0)
    with (folder / "patches" / "train_labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(folder / "patches" / "train" / f"patch-{number:04}.tif")
            writer.writerow([f"patch-{number:04}", label])
    store = fastpath.pack(folder / "patches", folder / "store")
    config = fastpath.load_config(
        None,
        [
            *("data.image_size_px=48", "data.batch_size=16", "data.augment.policy=d4", "train.epochs=2"),
            *("model.name=baseline_cnn", "model.pretrained=false", "model.trainable=all"),
        ],
    )
    run = fastpath.train(store, folder / "run", config)
    new, truth = draw(8, seed=1)
    for probability, label in zip(run.predict(new), truth, strict=True):
        print(f"{probability:.3f} {'tumour' if label else 'normal'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
