"""A plain PyTorch training loop: EfficientNet-Lite0, a DataLoader of TIFF files, float32, one cycle of AdamW.

What somebody writes who knows PyTorch and these weights: patches at their own size, flips and quarter turns, validation
after every epoch. Prints a line of JSON an epoch: its validation AUC and the seconds since the process began.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.peers.common import MEAN, STD
from fastpath.config import ModelConfig
from fastpath.model.registry import build


class Patches(Dataset[tuple[Tensor, float]]):
    """TIFF files of one part of the split."""

    def __init__(self, folder: Path, table: pd.DataFrame, *, train: bool) -> None:
        self._paths = [folder / "train" / f"{name}.tif" for name in table["id"]]
        self._labels = table["label"].astype(float).tolist()
        turns = [transforms.RandomRotation((angle, angle)) for angle in (0, 90, 180, 270)]
        moves = [transforms.RandomHorizontalFlip(), transforms.RandomChoice(turns)] if train else []
        self._transform = transforms.Compose([*moves, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        with Image.open(self._paths[index]) as image:
            return self._transform(image.convert("RGB")), self._labels[index]


def scores(model: nn.Module, loader: DataLoader[tuple[Tensor, float]], device: str = "cpu") -> np.ndarray:
    """Return the logits of a part, in its order."""
    model.eval()
    with torch.no_grad():
        return np.concatenate([model(images.to(device)).cpu().numpy() for images, _ in loader])


def main() -> None:
    """Train."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser()
    for name in ("folder", "split", "weights", "logits"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("epochs", "seed", "workers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    table = pd.read_csv(given.split)
    parts = {part: table[table["part"] == part] for part in ("train", "val")}
    train, val = (
        DataLoader(Patches(given.folder, rows, train=part == "train"), 64, part == "train", num_workers=given.workers)
        for part, rows in parts.items()
    )
    model = build(ModelConfig(name="tf_efficientnet_lite0", weights=given.weights, trainable="all"), 96)
    model.to(given.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, given.epochs * len(train))
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(given.epochs):
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = criterion(model(images.to(given.device)), labels.float().to(given.device))
            loss.backward()
            optimizer.step()
            cycle.step()
        logits = scores(model, val, given.device)
        progress = {"epoch": epoch + 1, "auc": roc_auc_score(parts["val"]["label"], logits)}
        print(json.dumps(progress | {"seconds": time.perf_counter() - began}), flush=True)
    np.save(given.logits, logits)


if __name__ == "__main__":
    main()
