"""The same samples in plain torch and torchvision: the oracle that the DALI graph is tested against.

Two of them, both with the parameters that `augment.draw` drew and in the notebook's order, by torchvision's own
functions. `training_images` works in floating point and interpolates a rotation bilinearly, as the graph does, or by
the nearest pixel, as the notebook does. `notebook_images` is the notebook's own chain: Pillow images, bytes after every
step, the nearest pixel. Slow, and meant to be.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from fastpath.data.augment.draw import BRIGHTNESS, CONTRAST, HUE, SATURATION, Augmentation
from fastpath.data.augment.stages import noise
from fastpath.types import CENTRE, ChannelStats

BILINEAR, NEAREST = InterpolationMode.BILINEAR, InterpolationMode.NEAREST

ADJUST = {
    BRIGHTNESS: F.adjust_brightness,
    CONTRAST: F.adjust_contrast,
    SATURATION: F.adjust_saturation,
    HUE: F.adjust_hue,
}


def training_images(
    patches_NCHW: Tensor,
    drawn: Augmentation,
    image_size_px: int,
    stats: ChannelStats,
    *,
    border: str = "black",
    rotation: InterpolationMode = BILINEAR,
) -> Tensor:
    """Return float32 [N, 3, H, W]: resized, augmented and normalised.

    Args:
        patches_NCHW: uint8 [N, 3, S, S].
        drawn: One set of parameters a patch.
        image_size_px: Side of the output.
        stats: What to normalise with.
        border: `black`, `clamp` for the nearest pixel of the patch, or `reflect` for its mirror image.
        rotation: How rotation, shift and zoom interpolate: `BILINEAR`, or `NEAREST`, torchvision's default.
    """
    images = [_augmented(patch, drawn, row, image_size_px, border, rotation) for row, patch in enumerate(patches_NCHW)]
    return _normalised(torch.stack(images), stats)


def notebook_images(
    patches_NCHW: Tensor,
    drawn: Augmentation,
    image_size_px: int,
    stats: ChannelStats,
    *,
    rotation: InterpolationMode = NEAREST,
) -> Tensor:
    """Return float32 [N, 3, H, W]: the notebook's chain on Pillow images, which rounds to bytes after every step.

    Resize, RandomHorizontalFlip, RandomRotation, RandomResizedCrop, ColorJitter, ToTensor and Normalize, which is all
    that the notebook does: what else a policy may draw is left out.

    Args:
        patches_NCHW: uint8 [N, 3, S, S].
        drawn: One set of parameters a patch.
        image_size_px: Side of the output.
        stats: What to normalise with.
        rotation: RandomRotation's interpolation, which the notebook leaves at torchvision's default.
    """
    images = []
    for row, patch in enumerate(patches_NCHW):
        image = F.resize(F.to_pil_image(patch), [image_size_px] * 2)
        image = F.horizontal_flip(image) if drawn.hflip_N[row] else image
        image = F.rotate(image, float(drawn.angle_deg_N[row]), rotation)
        image = F.resized_crop(image, *drawn.crop_N4[row].tolist(), [image_size_px] * 2)
        for kind in drawn.order_N4[row]:
            image = ADJUST[int(kind)](image, float(drawn.factors_N4[row, kind]))
        images.append(F.pil_to_tensor(image).float() / 255)
    return _normalised(torch.stack(images), stats)


def _augmented(
    patch_CHW: Tensor, drawn: Augmentation, row: int, size: int, border: str, rotation: InterpolationMode
) -> Tensor:
    image: Tensor = F.resize(patch_CHW.float() / 255, [size, size], antialias=True)
    image = F.horizontal_flip(image) if drawn.hflip_N[row] else image
    image = F.vertical_flip(image) if drawn.vflip_N[row] else image
    image = torch.rot90(image, int(drawn.turns_N[row]), dims=(1, 2))
    image = _moved(image, drawn, row, patch_CHW.shape[-1], border, rotation)
    top, left, height, width = drawn.crop_N4[row].tolist()
    image = F.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    image = _stained(image, *torch.from_numpy(drawn.stain_N23[row]).float())
    for kind in drawn.order_N4[row]:
        image = ADJUST[int(kind)](image, float(drawn.factors_N4[row, kind]))
    return image


def _moved(
    image: Tensor, drawn: Augmentation, row: int, patch_px: int, border: str, rotation: InterpolationMode
) -> Tensor:
    size, angle, zoom = image.shape[-1], float(drawn.angle_deg_N[row]), float(drawn.zoom_N[row])
    shift = [float(pixels) * size / patch_px for pixels in drawn.shift_px_N2[row]]
    if angle == 0 and zoom == 1 and shift == [0, 0]:
        return image
    # torchvision knows black borders only: extend the image, move it, cut it out again.
    around = 0 if border == "black" else size // 2
    image = F.pad(image, [around] * 4, padding_mode="edge" if border == "clamp" else "symmetric") if around else image
    if zoom == 1 and shift == [0, 0]:
        image = F.rotate(image, angle, rotation)
    else:  # torchvision's affine turns clockwise, its rotate does not
        image = F.affine(image, -angle, shift, zoom, [0.0, 0.0], rotation)
    moved: Tensor = F.center_crop(image, [size])
    return moved


def patches_with_artefacts(
    patches_NCHW: Tensor, partners_NCHW: Tensor, drawn: Augmentation, field: NDArray[np.int8]
) -> Tensor:
    """Return uint8 [N, 3, S, S]: blurred, noisy, compressed, and with another ring; what is then augmented.

    Args:
        patches_NCHW: uint8 [N, 3, S, S].
        partners_NCHW: The patches that lend their ring, where it is swapped.
        drawn: One set of parameters a patch.
        field: The noise, from `stages.noise.noise_field`.
    """
    images = []
    for row, (patch, partner) in enumerate(zip(patches_NCHW, partners_NCHW, strict=True)):
        of_row = {
            stage: {name: values_N[row] for name, values_N in values.items()} for stage, values in drawn.stages.items()
        }
        image = _blurred(patch, float(of_row["blur"]["sigma_px"])) if "blur" in of_row else patch
        image = _noisy(image, of_row["noise"], field) if "noise" in of_row else image
        image = _compressed(image, int(of_row["jpeg"]["quality"])) if "jpeg" in of_row else image
        images.append(_ringed(image, partner, of_row))
    return torch.stack(images)


def _noisy(image_CHW: Tensor, drawn: Mapping[str, Any], field: NDArray[np.int8]) -> Tensor:
    if not drawn["sd"]:
        return image_CHW
    window = torch.from_numpy(noise.noise_window(field, drawn["place"], image_CHW.shape[-1]))
    values = window.permute(2, 0, 1).float() / noise.NOISE_LEVELS
    return (image_CHW + float(drawn["sd"]) * values).round().clamp(0, 255).byte()


def _ringed(image_CHW: Tensor, partner_CHW: Tensor, drawn: Mapping[str, Mapping[str, Any]]) -> Tensor:
    ring = partner_CHW if "ring_swap" in drawn and drawn["ring_swap"]["partner"] >= 0 else image_CHW
    ring = _blurred(ring, float(drawn["ring_blur"]["sigma_px"])) if "ring_blur" in drawn else ring
    if "ring_stain" in drawn:
        stained = _stained(ring.float() / 255, *torch.from_numpy(drawn["ring_stain"]["change"]).float())
        ring = (stained * 255).round().byte()
    ring = ring.clone()
    centre = CENTRE.pixels(image_CHW.shape[-1])
    low, high = centre.start, centre.stop
    ring[:, low:high, low:high] = image_CHW[:, low:high, low:high]
    return ring


def _compressed(image_CHW: Tensor, quality: int) -> Tensor:
    """Go through a JPEG file in memory. Pillow's, since torchvision has deprecated its own; both are libjpeg."""
    if not quality:
        return image_CHW
    file = io.BytesIO()
    Image.fromarray(image_CHW.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def _blurred(image_CHW: Tensor, sigma_px: float) -> Tensor:
    reach = int(np.ceil(3 * sigma_px))
    blurred: Tensor = F.gaussian_blur(image_CHW, [2 * reach + 1] * 2, [sigma_px] * 2) if sigma_px else image_CHW
    return blurred


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
