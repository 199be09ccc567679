"""Kornia: batched augmentation of float tensors by torch's own operators, in the notebook's order or reordered."""

from __future__ import annotations

import kornia.augmentation as K
import torch

from benchmarks.peers.common import CROP_RATIO, CROP_SCALE, JITTER, MEAN, ROTATION_DEG, STD, Batches, Task, Work, main
from benchmarks.peers.packed import Packed

ORDER = "colour in one order a batch"
REORDERED = "colour, flip, rotation and normalisation at the stored size, one resize in place of two"
WORKS = {"": Work(differs=(ORDER,)), "reordered": Work(differs=(ORDER, REORDERED))}


def transform_for(task: Task) -> torch.nn.Module:
    """Return what makes normalised float32 [N, 3, size, size] of float32 [N, 3, H, W] in 0 to 1."""
    size = (task.image_size_px, task.image_size_px)
    resize, normalise = K.Resize(size), K.Normalize(torch.tensor(MEAN), torch.tensor(STD))
    turn = [K.RandomHorizontalFlip(p=0.5), K.RandomRotation(float(ROTATION_DEG), p=1)]
    crop = K.RandomResizedCrop(size, CROP_SCALE, CROP_RATIO, p=1)
    colour = K.ColorJitter(*JITTER, p=1)
    if task.mode == "val":
        return torch.nn.Sequential(normalise, resize)
    if task.variant == "reordered":
        return torch.nn.Sequential(colour, *turn, normalise, crop)
    return torch.nn.Sequential(resize, *turn, crop, colour, normalise)


@torch.inference_mode()
def load(task: Task) -> Batches:
    """Yield batches without end. Its operators use every thread by themselves, so no worker runs beside them."""
    torch.set_num_threads(task.threads)
    packed, transform = Packed(task.store), transform_for(task)
    for rows_N in packed.batches_of_rows(task.mode, task.batch_size):
        patches_NCHW = torch.from_numpy(packed.gather(rows_N)).permute(0, 3, 1, 2).contiguous()
        yield transform(patches_NCHW.float() / 255), torch.from_numpy(packed.labels_N[rows_N])


if __name__ == "__main__":
    main(load, WORKS, ["kornia", "torch"])
