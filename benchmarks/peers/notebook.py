"""The notebook's loader: PIL and torchvision in a DataLoader with 4 workers, written as such notebooks write it."""

from __future__ import annotations

import os

import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision import transforms

from benchmarks.peers.common import CROP_SCALE, JITTER, MEAN, ROTATION_DEG, STD, Batches, Task, main

WORKERS = 4


class PatchFolder(Dataset[tuple[torch.Tensor, int]]):
    """One TIFF an item."""

    def __init__(self, task: Task) -> None:
        self.table = pd.read_csv(task.folder / "train_labels.csv")
        self.folder = task.folder / "train"
        size = (task.image_size_px, task.image_size_px)
        augmentation = [
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(ROTATION_DEG),
            transforms.RandomResizedCrop(task.image_size_px, scale=CROP_SCALE),
            transforms.ColorJitter(*JITTER),
        ]
        self.transform = transforms.Compose(
            [
                transforms.Resize(size),
                *(augmentation if task.mode == "train" else []),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = self.table.iloc[index]
        with Image.open(self.folder / f"{row['id']}.tif") as image:
            return self.transform(image.convert("RGB")), int(row["label"])


def load(task: Task) -> Batches:
    """Yield batches, epoch after epoch; with a worker a core in the variant `all-cores`."""
    workers = len(os.sched_getaffinity(0)) if task.variant == "all-cores" else WORKERS
    data = PatchFolder(task)
    weights = 1.0 / data.table["label"].map(data.table["label"].value_counts()).to_numpy()
    sampler = WeightedRandomSampler(weights.tolist(), len(data)) if task.mode == "train" else None
    loader = DataLoader(data, task.batch_size, sampler=sampler, num_workers=workers, persistent_workers=True)
    while True:
        yield from loader


if __name__ == "__main__":
    main(load, packages=["torch", "torchvision", "pillow"])
