"""The notebook's transforms in torchvision.transforms.v2 on uint8 tensors, for every peer that leaves pixels to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from benchmarks.peers.common import CROP_RATIO, CROP_SCALE, JITTER, MEAN, ROTATION_DEG, STD, Task

BILINEAR = v2.InterpolationMode.BILINEAR
REORDERED = "colour, flip and rotation at the stored size, one resize in place of two"


def tensor_of(patch_HWC: NDArray[np.uint8]) -> torch.Tensor:
    """Return uint8 [3, H, W], contiguous: v2's colour works on planes, and collating is then one plain copy."""
    return torch.from_numpy(patch_HWC).permute(2, 0, 1).contiguous()


def transform_for(task: Task) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes a normalised float32 [3, size, size] of a uint8 [3, H, W].

    Called a patch at a time: on a batch, v2 draws once and treats every image alike.
    """
    size = task.image_size_px
    resize = v2.Resize([size, size], BILINEAR, antialias=True)
    colour = v2.ColorJitter(*JITTER)
    crop = v2.RandomResizedCrop([size, size], CROP_SCALE, CROP_RATIO, BILINEAR, antialias=True)
    turn = [v2.RandomHorizontalFlip(), v2.RandomRotation(ROTATION_DEG)]
    finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    if task.mode == "val":
        steps = [resize]
    elif task.variant == "reordered":
        steps = [colour, *turn, crop]
    else:
        steps = [resize, *turn, crop, colour]
    transform: Callable[[torch.Tensor], torch.Tensor] = v2.Compose([*steps, *finish])
    return transform
