"""The oracle is the notebook's own chain, with the parameters given in place of drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from fastpath.config import AugmentConfig
from fastpath.data import reference
from fastpath.data.augment import draw as augment
from fastpath.types import ChannelStats, Patches

SIZE, COUNT = 224, 8


def the_notebooks(drawn: augment.Augmentation, row: int, stats: ChannelStats, patch: pytest.MonkeyPatch) -> Any:
    """Return the notebook's transforms as the notebook writes them, which draw what one row says."""

    def draw(values: object) -> Callable[..., object]:
        return staticmethod(lambda *_, **__: values)

    order, factors = drawn.order_N4[row].tolist(), drawn.factors_N4[row].tolist()
    patch.setattr(transforms.RandomRotation, "get_params", draw(float(drawn.angle_deg_N[row])))
    patch.setattr(transforms.RandomResizedCrop, "get_params", draw(tuple(drawn.crop_N4[row].tolist())))
    patch.setattr(transforms.ColorJitter, "get_params", draw((order, *factors)))
    return transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE)),
            transforms.RandomHorizontalFlip(float(drawn.hflip_N[row])),
            transforms.RandomRotation(15),
            transforms.RandomResizedCrop(SIZE, scale=(0.8, 1.0)),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.1),
            transforms.ToTensor(),
            transforms.Normalize(stats.mean_3, stats.std_3),
        ]
    )


def test_notebook_images_are_those_of_the_notebooks_transforms(
    patches: Patches, stats: ChannelStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = torch.from_numpy(patches.gather(np.arange(COUNT))).permute(0, 3, 1, 2)
    drawn = augment.draw_augmentation(AugmentConfig(), SIZE, 42, 0, range(COUNT))
    assert drawn.hflip_N.any()
    assert not drawn.hflip_N.all()
    images = reference.notebook_images(sources, drawn, SIZE, stats)
    for row, source in enumerate(sources):
        chain = the_notebooks(drawn, row, stats, monkeypatch)
        wanted = chain(transforms.ToPILImage()(source))
        np.testing.assert_allclose(images[row].numpy(), wanted.numpy(), atol=1e-4)


def test_the_notebooks_rotation_takes_the_nearest_pixel() -> None:
    assert transforms.RandomRotation(15).interpolation is InterpolationMode.NEAREST


@pytest.mark.parametrize("interpolation", [reference.BILINEAR, reference.NEAREST])
def test_the_oracle_rotates_by_either_interpolation_as_the_chain_does(
    stats: ChannelStats, interpolation: InterpolationMode
) -> None:
    still = {"crop_scale": (1, 1), "crop_ratio": (1, 1), "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    drawn = augment.draw_augmentation(AugmentConfig.model_validate(still), SIZE, 42, 0, range(3))
    sources = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 3, 96, 96), np.uint8))
    chain = reference.notebook_images(sources, drawn, SIZE, stats, rotation=interpolation)
    other = {reference.BILINEAR: reference.NEAREST, reference.NEAREST: reference.BILINEAR}[interpolation]
    same, differs = (
        float((chain - reference.training_images(sources, drawn, SIZE, stats, rotation=rotation)).abs().mean())
        for rotation in (interpolation, other)
    )
    assert same < differs / 2
