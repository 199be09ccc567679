"""Albumentations (OpenCV) on packed patches in a DataLoader: in the notebook's order, or as its experts would.

Patches stay [H, W, 3] until they are batched: collating is then one plain copy into shared memory, and the batch is
channels-last without another.
"""

from __future__ import annotations

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks the network for a newer version

import albumentations as A
import cv2
import torch
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler, get_worker_info

from benchmarks.peers.common import CROP_RATIO, CROP_SCALE, JITTER, MEAN, ROTATION_DEG, STD, Batches, Task, Work, main
from benchmarks.peers.packed import Packed

HUE = "hue in whole steps of OpenCV's 180"
REORDERED = "colour, flip, rotation and normalisation at the stored size, one resize in place of two"
WORKS = {"": Work(differs=(HUE,)), "reordered": Work(differs=(HUE, REORDERED))}


def transform_for(task: Task) -> A.Compose:
    """Return what makes a normalised float32 [size, size, 3] of a uint8 [H, W, 3]."""
    size = task.image_size_px
    brightness, contrast, saturation, hue = JITTER
    resize = A.Resize(size, size, cv2.INTER_LINEAR)
    turn = [A.HorizontalFlip(p=0.5), A.Rotate((-ROTATION_DEG, ROTATION_DEG), cv2.INTER_LINEAR, fill=0, p=1)]
    crop = A.RandomResizedCrop((size, size), CROP_SCALE, CROP_RATIO, cv2.INTER_LINEAR, p=1)
    around_1 = [(1 - factor, 1 + factor) for factor in (brightness, contrast, saturation)]
    colour = A.ColorJitter(*around_1, hue=(-hue, hue), p=1)
    normalise = A.Normalize(MEAN, STD)
    if task.mode == "val":
        return A.Compose([normalise, resize])  # either way round but for rounding, and fewer pixels this way
    if task.variant == "reordered":
        return A.Compose([colour, *turn, normalise, crop])
    return A.Compose([resize, *turn, crop, colour, normalise])


class Patches(Dataset[tuple[torch.Tensor, int]]):
    """One packed patch an item, [H, W, 3]."""

    def __init__(self, task: Task) -> None:
        self.packed = Packed(task.store)
        self.labels = self.packed.labels_N.tolist()
        self.transform = transform_for(task)

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.transform(image=self.packed.patch(index))["image"]), self.labels[index]


def start_worker(number: int) -> None:
    """Leave OpenCV one thread a worker, and give every worker other random numbers."""
    cv2.setNumThreads(0)
    info = get_worker_info()
    assert info is not None
    info.dataset.transform.set_random_seed(info.seed % 2**32)  # type: ignore[attr-defined]


def load(task: Task) -> Batches:
    """Yield batches, epoch after epoch."""
    data = Patches(task)
    sampler = WeightedRandomSampler(data.packed.weights_N.tolist(), len(data)) if task.mode == "train" else None
    loader = DataLoader(
        data,
        task.batch_size,
        sampler=sampler,
        num_workers=task.threads,
        worker_init_fn=start_worker,
        persistent_workers=True,
    )
    while True:
        for images_NHWC, labels in loader:
            yield images_NHWC.permute(0, 3, 1, 2), labels


if __name__ == "__main__":
    main(load, WORKS, ["albumentations", "opencv-python-headless", "torch"])
