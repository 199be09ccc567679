"""The same samples in plain torch and torchvision: the oracle that the DALI graph is tested against.

Every step of the notebook is done by torchvision's own function, in the notebook's order, with the parameters that
`augment.draw` drew. Slow, and meant to be.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from fastpath.data.augment import BRIGHTNESS, CONTRAST, HUE, SATURATION, Augmentation
from fastpath.types import ChannelStats

BILINEAR = InterpolationMode.BILINEAR

ADJUST = {
    BRIGHTNESS: F.adjust_brightness,
    CONTRAST: F.adjust_contrast,
    SATURATION: F.adjust_saturation,
    HUE: F.adjust_hue,
}


def training_images(
    patches_NCHW: Tensor, drawn: Augmentation, image_size_px: int, stats: ChannelStats, *, border: str = "black"
) -> Tensor:
    """Return float32 [N, 3, H, W]: resized, augmented and normalised.

    Args:
        patches_NCHW: uint8 [N, 3, S, S].
        drawn: One set of parameters a patch.
        image_size_px: Side of the output.
        stats: What to normalise with.
        border: `black`, or `clamp` for the nearest pixel of the patch.
    """
    images = [_augmented(patch, drawn, row, image_size_px, border) for row, patch in enumerate(patches_NCHW)]
    return _normalised(torch.stack(images), stats)


def _augmented(patch_CHW: Tensor, drawn: Augmentation, row: int, size: int, border: str) -> Tensor:
    image: Tensor = F.resize(patch_CHW.float() / 255, [size, size], antialias=True)
    image = F.horizontal_flip(image) if drawn.hflip_N[row] else image
    image = F.vertical_flip(image) if drawn.vflip_N[row] else image
    image = torch.rot90(image, int(drawn.turns_N[row]), dims=(1, 2))
    angle = float(drawn.angle_deg_N[row])
    if angle and border == "clamp":  # torchvision's rotate has no clamp: extend the image, rotate, cut it out again
        image = F.center_crop(F.rotate(F.pad(image, [size // 2] * 4, padding_mode="edge"), angle, BILINEAR), [size])
    elif angle:
        image = F.rotate(image, angle, BILINEAR)
    top, left, height, width = drawn.crop_N4[row].tolist()
    image = F.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    image = _stained(image, *torch.from_numpy(drawn.stain_N23[row]).float())
    for kind in drawn.order_N4[row]:
        image = ADJUST[int(kind)](image, float(drawn.factors_N4[row, kind]))
    return image


def _stained(image_CHW: Tensor, factors_3: Tensor, shifts_3: Tensor) -> Tensor:
    stains = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    stains = stains / stains.norm(dim=1, keepdim=True)
    density = -image_CHW.clamp(min=1 / 255).log()
    amounts = torch.linalg.solve(stains.T, density.flatten(1))
    moved = stains.T @ (amounts * factors_3[:, None] + shifts_3[:, None])
    return (-moved).exp().clamp(0, 1).view_as(image_CHW) if (factors_3 != 1).any() or shifts_3.any() else image_CHW


def evaluation_images(patches_NCHW: Tensor, image_size_px: int, stats: ChannelStats) -> Tensor:
    """Return float32 [N, 3, H, W]: resized and normalised.

    Args:
        patches_NCHW: uint8 [N, 3, S, S].
        image_size_px: Side of the output.
        stats: What to normalise with.
    """
    images = F.resize(patches_NCHW.float() / 255, [image_size_px, image_size_px], antialias=True)
    return _normalised(images, stats)


def _normalised(images_NCHW: Tensor, stats: ChannelStats) -> Tensor:
    normalised: Tensor = F.normalize(images_NCHW, list(stats.mean_3), list(stats.std_3))
    return normalised
