"""The DALI graph against torchvision, transform by transform, in grey levels (0 to 255).

Where the two differ, they differ by how often pixels are interpolated (torchvision up to three times, the graph once)
and by the clamps that an affine colour map cannot have; docs/numerics.md explains the bounds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.config.augment import POLICIES
from fastpath.data import loader, order, reference
from fastpath.data.augment import draw
from fastpath.data.augment.stages import noise, ring_swap
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats, Patches, Samples

pytestmark = pytest.mark.dali

STILL = {
    "hflip": 0.0,
    "rotation_deg": 0.0,
    "crop_scale": (1.0, 1.0),
    "crop_ratio": (1.0, 1.0),
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
}
COLOURED = {"brightness", "contrast", "saturation", "hue", "stain", "ring_stain_p"}
CROP = {"crop_scale": (0.8, 1.0), "crop_ratio": (0.75, 4 / 3)}
COLOUR = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}
HALF = {f"{name}_p": 0.5 for name in ("rotation", "crop", "colour", "stain", "shift", "zoom")} | {"stain": 0.1}
GEOMETRY = {"hflip": 0.5, "rotation_deg": 15.0} | CROP

# name, settings, bound of the mean distance, bound of the mean signed distance; on real patches at 224.
CASES = [
    ("none", {}, 0.01, 0.01),
    ("hflip", {"hflip": 1.0}, 0.01, 0.01),
    ("vflip", {"vflip": 1.0}, 0.01, 0.01),
    ("quarter turns", {"quarter_turns": True}, 0.01, 0.01),
    ("rotation", {"rotation_deg": 15.0}, 1.8, 0.2),
    ("rotation, clamped border", {"rotation_deg": 15.0, "border": "clamp"}, 1.3, 0.1),
    ("crop", CROP, 1.3, 0.1),
    ("brightness", {"brightness": 0.2}, 1.6, 0.6),
    ("contrast", {"contrast": 0.2}, 1.0, 0.4),
    ("saturation", {"saturation": 0.2}, 0.3, 0.1),
    ("hue", {"hue": 0.1}, 1.3, 0.3),
    ("colour", COLOUR, 3.0, 0.8),
    ("geometry", GEOMETRY, 2.8, 0.3),
    ("everything", GEOMETRY | COLOUR, 4.5, 1.0),
    ("stain", {"stain": 0.1}, 1.5, 0.4),
    ("shift", {"shift_px": 6.0}, 1.8, 0.1),
    ("zoom", {"zoom": (0.8, 1.2)}, 1.6, 0.1),
    ("rotation, zoom and shift", {"rotation_deg": 15.0, "zoom": (0.8, 1.2), "shift_px": 6.0}, 1.8, 0.2),
    ("the same, reflected", {"rotation_deg": 15.0, "zoom": (0.8, 1.2), "shift_px": 6.0, "border": "reflect"}, 1.3, 0.1),
    ("half of everything", GEOMETRY | COLOUR | HALF, 3.2, 0.8),
    ("blur", {"blur_p": 0.7}, 0.01, 0.01),
    ("noise", {"noise_p": 0.7}, 0.01, 0.01),
    ("JPEG", {"jpeg_p": 0.7}, 0.01, 0.01),
    ("ring blurred", {"ring_blur_p": 0.7}, 0.01, 0.01),
    ("ring restained", {"ring_stain_p": 0.7}, 0.4, 0.15),
    ("ring swapped", {"ring_swap_p": 0.7}, 0.01, 0.01),
    ("policy d4", POLICIES["d4"], 0.01, 0.01),
    ("policy strong", POLICIES["strong"], 4.7, 0.8),
    ("policy ring", COLOUR | POLICIES["ring"], 3.9, 0.7),
]

# Those in which the patch's edge does not come 40 pixels into the image.
INNER_CASES = [case for case in CASES if case[0] not in {"rotation, zoom and shift", "the same, reflected"}]


@pytest.fixture(scope="module")
def real_patches(sample_folder: Path) -> Patches:
    files = sorted((sample_folder / "train").glob("*.tif"))[::40]
    return _Patches(np.stack([tifffile.imread(file) for file in files]))


class _Patches:
    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        self.images_NHWC, self.patch_size_px = images_NHWC, images_NHWC.shape[1]
        self.labels_N = np.zeros(len(images_NHWC), np.int8)

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        out = np.empty((len(indices_N), *self.images_NHWC.shape[1:]), np.uint8) if out_NHWC is None else out_NHWC
        out[:] = self.images_NHWC[indices_N]
        return out


def distances(
    patches: Patches, stats: ChannelStats, runtime: Runtime, size: int, settings: dict[str, object], **reverse: int
) -> NDArray[np.float32]:
    """Signed distances graph - torchvision, [N, 3, H, W], with parameters of the oracle reversed where asked."""
    policy = AugmentConfig(**(STILL | settings))
    config = Config(data=DataConfig(image_size_px=size, batch_size=64, sampling="natural", augment=policy))
    rows = np.arange(len(patches.labels_N))
    batch = next(loader.train_loader(Samples(patches, rows, stats), config, runtime).epoch(1))
    order_M = rows[order.epoch_order(patches.labels_N, "natural", config.seed, 1)][:64]
    np.testing.assert_array_equal(batch.indices_N.numpy(), order_M)
    drawn = draw.draw_augmentation(policy, size, config.seed, 1, range(64))
    drawn = dataclasses.replace(drawn, **{name: getattr(drawn, name) * sign for name, sign in reverse.items()})
    partners = ring_swap.partner_rows(drawn.stages, order_M, rows)
    sources, partner_images = (
        torch.from_numpy(patches.gather(these)).permute(0, 3, 1, 2) for these in (order_M, partners)
    )
    sources = reference.patches_with_artefacts(sources, partner_images, drawn, noise.noise_field(config.seed, 96))
    wanted = reference.training_images(sources, drawn, size, stats, border=policy.border)
    return _grey_levels(batch.images_NCHW - wanted, stats)


def _grey_levels(normalised: torch.Tensor, stats: ChannelStats) -> NDArray[np.float32]:
    return (normalised * torch.tensor(stats.std_3)[:, None, None] * 255).numpy()


@pytest.mark.parametrize(("name", "settings", "bound", "bias"), CASES, ids=[case[0] for case in CASES])
def test_training_images_are_within_the_stated_bound_of_torchvision_on_real_patches(
    real_patches: Patches,
    stats: ChannelStats,
    runtime: Runtime,
    name: str,
    settings: dict[str, object],
    bound: float,
    bias: float,
) -> None:
    distance = distances(real_patches, stats, runtime, 224, settings)
    assert np.abs(distance).mean() < bound
    assert abs(distance.mean()) < bias


@pytest.mark.parametrize(("name", "settings", "bound", "bias"), INNER_CASES, ids=[case[0] for case in INNER_CASES])
def test_training_images_are_close_to_torchvision_on_smooth_patches(
    patches: Patches,
    stats: ChannelStats,
    runtime: Runtime,
    name: str,
    settings: dict[str, object],
    bound: float,
    bias: float,
) -> None:
    inner = distances(patches, stats, runtime, 224, settings)[:, :, 40:-40, 40:-40]
    assert np.abs(inner).mean() < (max(bound, 2.0) if set(settings) & COLOURED else 0.25)


@pytest.mark.parametrize("size", [96, 128, 160, 224])
def test_evaluation_images_are_within_one_grey_level_of_torchvision(
    real_patches: Patches, stats: ChannelStats, runtime: Runtime, size: int
) -> None:
    config = Config(data=DataConfig(image_size_px=size, batch_size=64))
    rows = np.arange(64)
    batch = next(iter(loader.eval_loader(Samples(real_patches, rows, stats), config, runtime)))
    wanted = reference.evaluation_images(torch.from_numpy(real_patches.gather(rows)).permute(0, 3, 1, 2), size, stats)
    assert np.abs(_grey_levels(batch.images_NCHW - wanted, stats)).max() < 1


def test_shrunk_images_are_within_one_grey_level_of_torchvision_away_from_the_edge(
    real_patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    config = Config(data=DataConfig(image_size_px=48, batch_size=64))
    rows = np.arange(64)
    batch = next(iter(loader.eval_loader(Samples(real_patches, rows, stats), config, runtime)))
    sources = torch.from_numpy(real_patches.gather(rows)).permute(0, 3, 1, 2)
    difference = _grey_levels(batch.images_NCHW - reference.evaluation_images(sources, 48, stats), stats)
    # At the edge DALI repeats the outermost pixel under its antialiasing filter; torchvision leaves it out.
    assert np.abs(difference[:, :, 1:-1, 1:-1]).max() < 1
    assert np.abs(difference).mean() < 0.2


@pytest.mark.parametrize(
    ("settings", "reverse"),
    [
        ({"rotation_deg": 15.0, "border": "clamp"}, {"angle_deg_N": -1}),
        ({"quarter_turns": True}, {"turns_N": -1}),
        ({"hflip": 0.5}, {"hflip_N": 0}),
        ({"vflip": 0.5}, {"vflip_N": 0}),
        ({"hue": 0.1}, {"factors_N4": np.array([1.0, 1.0, 1.0, -1.0])}),
    ],
    ids=["rotation", "turns", "hflip", "vflip", "hue"],
)
def test_a_reversed_direction_would_be_seen(
    patches: Patches, stats: ChannelStats, runtime: Runtime, settings: dict[str, object], reverse: dict[str, int]
) -> None:
    right = np.abs(distances(patches, stats, runtime, 96, settings)).mean()
    wrong = np.abs(distances(patches, stats, runtime, 96, settings, **reverse)).mean()
    assert wrong > 4 * right + 1


def test_a_crop_window_off_by_one_pixel_would_be_seen(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    right = np.abs(distances(patches, stats, runtime, 224, CROP)).mean()
    policy = AugmentConfig(**(STILL | CROP))
    drawn = draw.draw_augmentation(policy, 224, 42, 1, range(64))
    sources = torch.from_numpy(patches.gather(order.epoch_order(patches.labels_N, "natural", 42, 1)[:64]))
    shifted = dataclasses.replace(drawn, crop_N4=np.maximum(drawn.crop_N4 - [1, 0, 0, 0], 0))
    first, second = (
        reference.training_images(sources.permute(0, 3, 1, 2), parameters, 224, stats)
        for parameters in (drawn, shifted)
    )
    assert np.abs(_grey_levels(first - second, stats)).mean() > 3 * right


def test_a_normalised_epoch_has_mean_zero_and_deviation_one(real_patches: Patches, runtime: Runtime) -> None:
    pixels = real_patches.gather(np.arange(len(real_patches.labels_N))).reshape(-1, 3) / 255
    stats = ChannelStats(tuple(pixels.mean(axis=0)), tuple(pixels.std(axis=0)))
    config = Config(data=DataConfig(image_size_px=96, batch_size=125))
    batches = loader.eval_loader(Samples(real_patches, np.arange(len(real_patches.labels_N)), stats), config, runtime)
    images = torch.cat([batch.images_NCHW for batch in batches])
    np.testing.assert_allclose(images.mean(dim=(0, 2, 3)).numpy(), 0, atol=1e-3)
    np.testing.assert_allclose(images.std(dim=(0, 2, 3)).numpy(), 1, atol=1e-3)
