"""The jitter chain is torchvision's, and the affine map is close to it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from benchmarks import former
from fastpath.config import AugmentConfig
from fastpath.data import reference
from fastpath.data.augment import colour, draw
from fastpath.types import ChannelStats

UNIT = ChannelStats((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def drawn(count: int, seed: int = 0, **factors: float) -> draw.Augmentation:
    settings = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0} | factors
    return draw.draw_augmentation(AugmentConfig(**settings), 96, seed, 0, range(count))


def random_pixels(count: int, probes: int = 50) -> np.ndarray:
    return np.random.default_rng(4).random((count, probes, 3), dtype=np.float32)


@given(st.floats(-0.5, 0.5))
def test_hue_shift_is_torchvisions(turns: float) -> None:
    pixels = random_pixels(1, 500)
    theirs = F.adjust_hue(torch.from_numpy(pixels[0].T[:, None, :].copy()), turns)[:, 0].numpy().T
    np.testing.assert_allclose(colour.shift_hue(pixels, np.float32([[turns]]))[0], theirs, atol=2e-4)


@pytest.mark.parametrize("count", [1, 3, 1000])
@pytest.mark.parametrize("levels", [1, 2, 4, 255, 2**24])
def test_hue_shift_is_the_closed_form_bit_for_bit(count: int, levels: int) -> None:
    rng = np.random.default_rng([count, levels])
    pixels = rng.integers(0, levels + 1, (count, 65, 3)).astype(np.float32) / np.float32(levels)
    pixels[:, :9] = pixels[:, :9, :1]  # greys
    pixels[:, 9:20, 1] = pixels[:, 9:20, 2]  # two channels alike
    pixels[:, -2:] = [[0.0] * 3, [1.0] * 3]
    turns = rng.uniform(-0.5, 0.5, (count, 1)).astype(np.float32)
    edges = np.float32([0, -0.0, 0.5, -0.5, 1 / 6, -1 / 6, 1 / 3, -1 / 3, 1e-9, -1e-9, 1 / 12])[:count]
    turns[: len(edges), 0] = edges  # shifts that lead from one sector's border to another's
    assert colour.shift_hue(pixels, turns).tobytes() == former.shift_hue(pixels, turns).tobytes()


def test_a_positive_hue_shift_moves_red_towards_green() -> None:
    red = np.float32([[[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(colour.shift_hue(red, np.float32([[1 / 6]]))[0, 0], [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(colour.shift_hue(red, np.float32([[-1 / 6]]))[0, 0], [1, 0, 1], atol=1e-6)


def test_the_chain_is_torchvisions_in_every_order() -> None:
    parameters = drawn(300, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    assert len(np.unique(parameters.order_N4, axis=0)) == 24
    pixels = random_pixels(300)
    ours = colour.jitter(pixels, parameters, np.full((300, 50), 1 / 50, np.float32))
    for row in range(300):
        image = torch.from_numpy(pixels[row].T[:, None, :].copy())
        for kind in parameters.order_N4[row]:
            image = reference.ADJUST[int(kind)](image, float(parameters.factors_N4[row, kind]))
        np.testing.assert_allclose(ours[row], image[:, 0].numpy().T, atol=1e-3)


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_the_map_reproduces_an_affine_step_where_nothing_is_clamped(kind: str) -> None:
    pixels = 0.35 + 0.3 * random_pixels(40)
    parameters = drawn(40, **{kind: 0.2})
    wanted = colour.jitter(pixels, parameters, np.full((40, 50), 1 / 50, np.float32))
    maps = colour.colour_matrices(pixels, parameters, np.ones(40), UNIT)
    ours = np.einsum("nij,nkj->nki", maps[:, :, :3], pixels * 255) + maps[:, None, :, 3]
    # The ridge holds back 1e-4 / variance of the change; the variance of these pixels is 0.0075.
    assert np.abs(ours - wanted).max() < 0.003


def test_no_jitter_is_the_identity_whatever_the_patch() -> None:
    constant = np.full((1, 64, 3), 0.9, np.float32)
    for pixels in (constant, random_pixels(1, 64)):
        maps = colour.colour_matrices(pixels, drawn(1), np.ones(1), UNIT)
        np.testing.assert_allclose(maps[0, :, :3] * 255, np.eye(3), atol=1e-4)
        np.testing.assert_allclose(maps[0, :, 3], 0, atol=1e-4)


def test_a_blank_patch_is_mapped_without_blowing_up() -> None:
    for value in (0.0, 1.0):
        parameters = drawn(300, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
        maps = colour.colour_matrices(np.full((300, 64, 3), value, np.float32), parameters, np.ones(300), UNIT)
        assert np.isfinite(maps).all()
        shown = maps[:, :, :3].sum(2) * 255 * value + maps[:, :, 3]
        assert shown.min() > -0.01
        assert shown.max() < 1.01


def test_a_contrast_change_pivots_on_the_mean_of_what_is_shown_corners_included() -> None:
    parameters = dataclasses.replace(drawn(1, contrast=0.2), factors_N4=np.array([[1.0, 0.8, 1.0, 0.0]]))
    grey = np.full((1, 64, 3), 0.6, np.float32)
    for share in (1.0, 0.9):
        black = colour.colour_matrices(grey, parameters, np.array([share]), UNIT)[0, :, 3]
        np.testing.assert_allclose(black, 0.2 * 0.6 * share, atol=0.003 if share < 1 else 0.13)


def test_probes_are_a_regular_grid_that_covers_the_patch() -> None:
    image = np.zeros((1, 96, 96, 3), np.uint8)
    image[0, :, :, 0], image[0, :, :, 1] = np.mgrid[0:96, 0:96]
    probes = colour.probe_pixels(image)[0] * 255
    assert probes.shape == (64, 3)
    np.testing.assert_allclose(np.unique(probes[:, 0].round()), np.arange(6, 96, 12))
    np.testing.assert_allclose(np.unique(probes[:, 1].round()), np.arange(6, 96, 12))


@pytest.mark.parametrize("size", [8, 16, 50, 97])
def test_probes_exist_for_any_patch_of_at_least_eight_pixels(size: int) -> None:
    assert colour.probe_pixels(np.ones((2, size, size, 3), np.uint8)).shape == (2, 64, 3)


def test_scaling_one_stain_scales_the_density_of_a_pixel_of_that_stain() -> None:
    eosin = np.exp(-0.5 * colour.STAINS_33[1])[None, None].astype(np.float32)
    scaled = colour.shift_stains(eosin, np.array([[[1.0, 1.5, 1.0], [0.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(scaled[0, 0], np.exp(-0.75 * colour.STAINS_33[1]), rtol=1e-5)
    untouched = colour.shift_stains(eosin, np.array([[[1.5, 1.0, 1.0], [0.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(untouched[0, 0], eosin[0, 0], rtol=1e-5)


def test_more_haematoxylin_darkens_towards_blue() -> None:
    pink = np.float32([[[0.8, 0.5, 0.7]]])
    shifted = colour.shift_stains(pink, np.array([[[1.0, 1.0, 1.0], [0.3, 0.0, 0.0]]]))[0, 0]
    change = shifted - pink[0, 0]
    assert (change < 0).all()
    assert abs(change[2]) < abs(change[0])


def test_no_stain_jitter_is_the_identity() -> None:
    pixels = np.maximum(random_pixels(4), colour.DARKEST)
    still = np.tile([[1.0], [0.0]], (4, 1, 3)).reshape(4, 2, 3)
    np.testing.assert_allclose(colour.shift_stains(pixels, still), pixels, atol=1e-5)
