"""Parameters are a pure function of position, and distributed as torchvision's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torchvision.transforms import v2

from fastpath.config import AugmentConfig
from fastpath.data import augment

NOTEBOOK = AugmentConfig()
DRAWS = 100_000


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(0, 10_000), st.integers(1, 40))
def test_a_draw_depends_on_its_position_only(seed: int, epoch: int, start: int, count: int) -> None:
    whole = augment.draw(NOTEBOOK, 224, seed, epoch, range(start, start + count))
    for offset in {0, count // 2, count - 1}:
        alone = augment.draw(NOTEBOOK, 224, seed, epoch, range(start + offset, start + offset + 1))
        for field in dataclasses.fields(alone):
            np.testing.assert_array_equal(getattr(alone, field.name)[0], getattr(whole, field.name)[offset])


@pytest.fixture(scope="module")
def drawn() -> augment.Augmentation:
    return augment.draw(NOTEBOOK, 224, 11, 0, range(DRAWS))


def test_crops_follow_torchvision(drawn: augment.Augmentation) -> None:
    torch.manual_seed(5)
    transform = v2.RandomResizedCrop(224, scale=(0.8, 1.0))
    image = torch.empty(3, 224, 224)
    theirs = np.array([list(transform.make_params([image]).values()) for _ in range(20_000)])
    for column, name in enumerate(("top", "left", "height", "width")):
        assert ks_2samp(drawn.crop_N4[:, column], theirs[:, column]).pvalue > 1e-3, name


def test_jitter_follows_torchvision(drawn: augment.Augmentation) -> None:
    torch.manual_seed(6)
    transform = v2.ColorJitter(0.2, 0.2, 0.2, 0.1)
    theirs = [transform.make_params([]) for _ in range(20_000)]
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    for column, name in enumerate(names):
        values = [float(params[name]) for params in theirs]
        assert ks_2samp(drawn.factors_N4[:, column], values).pvalue > 1e-3, name


def test_all_24_orders_of_jitter_are_equally_likely(drawn: augment.Augmentation) -> None:
    _, counts = np.unique(drawn.order_N4, axis=0, return_counts=True)
    assert len(counts) == 24
    assert counts.max() / counts.min() < 1.15


def test_rotation_and_flips_follow_torchvision(drawn: augment.Augmentation) -> None:
    torch.manual_seed(7)
    transform = v2.RandomRotation(15)
    theirs = [transform.make_params([])["angle"] for _ in range(20_000)]
    assert ks_2samp(drawn.angle_deg_N, theirs).pvalue > 1e-3
    assert drawn.hflip_N.mean() == pytest.approx(0.5, abs=0.01)
    assert not drawn.vflip_N.any()
    assert not drawn.turns_N.any()


def test_d4_draws_each_of_the_eight_symmetries_equally_often() -> None:
    config = AugmentConfig(hflip=0.5, quarter_turns=True, rotation_deg=0)
    drawn = augment.draw(config, 96, 0, 0, range(40_000))
    _, counts = np.unique(np.stack([drawn.hflip_N, drawn.turns_N]), axis=1, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 4_500


def test_a_crop_that_never_fits_falls_back_as_torchvision_does() -> None:
    wide = AugmentConfig(crop_scale=(1.0, 1.0), crop_ratio=(2.0, 2.0))
    transform = v2.RandomResizedCrop(224, scale=(1.0, 1.0), ratio=(2.0, 2.0))
    theirs = list(transform.make_params([torch.empty(3, 224, 224)]).values())
    assert augment.draw(wide, 224, 0, 0, range(1)).crop_N4[0].tolist() == theirs


def test_a_policy_is_where_its_keys_start_from_and_a_given_key_wins() -> None:
    d4 = AugmentConfig.model_validate({"policy": "d4"})
    assert (d4.hflip, d4.quarter_turns, d4.rotation_deg, d4.hue) == (0.5, True, 0.0, 0.0)
    mixed = AugmentConfig.model_validate({"policy": "d4", "hue": 0.05})
    assert (mixed.quarter_turns, mixed.hue) == (True, 0.05)
    assert AugmentConfig.model_validate(mixed.model_dump()) == mixed
    assert AugmentConfig.model_validate({"policy": "notebook"}) == AugmentConfig()


def test_without_augmentation_every_sample_is_left_as_it_is() -> None:
    drawn = augment.draw(AugmentConfig.model_validate({"policy": "none"}), 96, 0, 0, range(100))
    assert not drawn.hflip_N.any()
    assert not drawn.vflip_N.any()
    assert not drawn.turns_N.any()
    assert not drawn.angle_deg_N.any()
    np.testing.assert_array_equal(drawn.crop_N4, np.tile([0, 0, 96, 96], (100, 1)))
    np.testing.assert_allclose(drawn.factors_N4, np.tile([1, 1, 1, 0], (100, 1)))
    np.testing.assert_array_equal(drawn.stain_N23, np.tile([[1.0], [0.0]], (100, 1, 3)).reshape(100, 2, 3))
