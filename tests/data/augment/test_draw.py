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
from fastpath.data.augment import draw

NOTEBOOK = AugmentConfig()
DRAWS = 100_000


EVERYTHING = AugmentConfig.model_validate(
    {"policy": "strong"} | {key: 0.5 for key in AugmentConfig.model_fields if key.endswith("_p")}
)


@given(
    st.sampled_from([NOTEBOOK, EVERYTHING]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 500),
    st.integers(0, 10_000),
    st.integers(1, 40),
)
def test_a_draw_depends_on_its_position_only(
    policy: AugmentConfig, seed: int, epoch: int, start: int, count: int
) -> None:
    whole = draw.draw_augmentation(policy, 224, seed, epoch, range(start, start + count))
    for offset in {0, count // 2, count - 1}:
        alone = draw.draw_augmentation(policy, 224, seed, epoch, range(start + offset, start + offset + 1))
        for name, values_N in parameters(whole).items():
            np.testing.assert_array_equal(parameters(alone)[name][0], values_N[offset])


def parameters(drawn: draw.Augmentation) -> dict[tuple[str, ...], np.ndarray]:
    """Return all that was drawn, by name, or by stage and name."""
    own = {(field.name,): getattr(drawn, field.name) for field in dataclasses.fields(drawn) if field.name != "stages"}
    return own | {(stage, name): values_N for stage, of in drawn.stages.items() for name, values_N in of.items()}


@pytest.fixture(scope="module")
def drawn() -> draw.Augmentation:
    return draw.draw_augmentation(NOTEBOOK, 224, 11, 0, range(DRAWS))


def test_crops_follow_torchvision(drawn: draw.Augmentation) -> None:
    torch.manual_seed(5)
    transform = v2.RandomResizedCrop(224, scale=(0.8, 1.0))
    image = torch.empty(3, 224, 224)
    theirs = np.array([list(transform.make_params([image]).values()) for _ in range(20_000)])
    for column, name in enumerate(("top", "left", "height", "width")):
        assert ks_2samp(drawn.crop_N4[:, column], theirs[:, column]).pvalue > 1e-3, name


def test_jitter_follows_torchvision(drawn: draw.Augmentation) -> None:
    torch.manual_seed(6)
    transform = v2.ColorJitter(0.2, 0.2, 0.2, 0.1)
    theirs = [transform.make_params([]) for _ in range(20_000)]
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    for column, name in enumerate(names):
        values = [float(params[name]) for params in theirs]
        assert ks_2samp(drawn.factors_N4[:, column], values).pvalue > 1e-3, name


def test_all_24_orders_of_jitter_are_equally_likely(drawn: draw.Augmentation) -> None:
    _, counts = np.unique(drawn.order_N4, axis=0, return_counts=True)
    assert len(counts) == 24
    assert counts.max() / counts.min() < 1.15


def test_rotation_and_flips_follow_torchvision(drawn: draw.Augmentation) -> None:
    torch.manual_seed(7)
    transform = v2.RandomRotation(15)
    theirs = [transform.make_params([])["angle"] for _ in range(20_000)]
    assert ks_2samp(drawn.angle_deg_N, theirs).pvalue > 1e-3
    assert drawn.hflip_N.mean() == pytest.approx(0.5, abs=0.01)
    assert not drawn.vflip_N.any()
    assert not drawn.turns_N.any()


def test_d4_draws_each_of_the_eight_symmetries_equally_often() -> None:
    config = AugmentConfig(hflip=0.5, quarter_turns=True, rotation_deg=0)
    drawn = draw.draw_augmentation(config, 96, 0, 0, range(40_000))
    _, counts = np.unique(np.stack([drawn.hflip_N, drawn.turns_N]), axis=1, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 4_500


def test_a_crop_that_never_fits_falls_back_as_torchvision_does() -> None:
    wide = AugmentConfig(crop_scale=(1.0, 1.0), crop_ratio=(2.0, 2.0))
    transform = v2.RandomResizedCrop(224, scale=(1.0, 1.0), ratio=(2.0, 2.0))
    theirs = list(transform.make_params([torch.empty(3, 224, 224)]).values())
    assert draw.draw_augmentation(wide, 224, 0, 0, range(1)).crop_N4[0].tolist() == theirs


def test_a_policy_is_where_its_keys_start_from_and_a_given_key_wins() -> None:
    d4 = AugmentConfig.model_validate({"policy": "d4"})
    assert (d4.hflip, d4.quarter_turns, d4.rotation_deg, d4.hue) == (0.5, True, 0.0, 0.0)
    mixed = AugmentConfig.model_validate({"policy": "d4", "hue": 0.05})
    assert (mixed.quarter_turns, mixed.hue) == (True, 0.05)
    assert AugmentConfig.model_validate(mixed.model_dump()) == mixed
    assert AugmentConfig.model_validate({"policy": "notebook"}) == AugmentConfig()


def test_without_augmentation_every_sample_is_left_as_it_is() -> None:
    drawn = draw.draw_augmentation(AugmentConfig.model_validate({"policy": "none"}), 96, 0, 0, range(100))
    assert not drawn.hflip_N.any()
    assert not drawn.vflip_N.any()
    assert not drawn.turns_N.any()
    assert not drawn.angle_deg_N.any()
    np.testing.assert_array_equal(drawn.crop_N4, np.tile([0, 0, 96, 96], (100, 1)))
    np.testing.assert_allclose(drawn.factors_N4, np.tile([1, 1, 1, 0], (100, 1)))
    np.testing.assert_array_equal(drawn.stain_N23, np.tile([[1.0], [0.0]], (100, 1, 3)).reshape(100, 2, 3))


def test_what_is_asked_for_more_leaves_the_notebooks_draws_as_they_are() -> None:
    plain = draw.draw_augmentation(NOTEBOOK, 224, 5, 2, range(100))
    more = draw.draw_augmentation(NOTEBOOK.model_copy(update={"blur_p": 0.5, "shift_px": 3.0}), 224, 5, 2, range(100))
    for name in ("hflip_N", "angle_deg_N", "crop_N4", "factors_N4", "order_N4"):
        np.testing.assert_array_equal(getattr(more, name), getattr(plain, name))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_each_probability_is_the_share_of_samples_that_are_changed(share: float) -> None:
    asked = {key: share for key in AugmentConfig.model_fields if key.endswith("_p")}
    settings = {"stain": 0.1, "shift_px": 3.0, "zoom": (1.1, 1.2), "crop_scale": (0.5, 0.9)} | asked
    drawn = draw.draw_augmentation(AugmentConfig.model_validate(settings), 224, 0, 0, range(20_000))

    def changed_by(stage: str, parameter: str) -> np.ndarray:
        if share:
            return drawn.stages[stage][parameter]
        assert not drawn.stages
        neutral = draw.SAME_STAIN if parameter == "change" else -1.0 if parameter == "partner" else 0.0
        return np.broadcast_to(neutral, (20_000, *np.shape(neutral)))

    changed = {
        "rotation_p": drawn.angle_deg_N != 0,
        "crop_p": (drawn.crop_N4 != [0, 0, 224, 224]).any(axis=1),
        "colour_p": (drawn.factors_N4 != draw.SAME_COLOUR).any(axis=1),
        "stain_p": (drawn.stain_N23 != draw.SAME_STAIN).any(axis=(1, 2)),
        "shift_p": drawn.shift_px_N2.any(axis=1),
        "zoom_p": drawn.zoom_N != 1,
        "blur_p": changed_by("blur", "sigma_px") > 0,
        "noise_p": changed_by("noise", "sd") > 0,
        "jpeg_p": changed_by("jpeg", "quality") > 0,
        "ring_blur_p": changed_by("ring_blur", "sigma_px") > 0,
        "ring_stain_p": (changed_by("ring_stain", "change") != draw.SAME_STAIN).any(axis=(1, 2)),
        "ring_swap_p": changed_by("ring_swap", "partner") >= 0,
    }
    assert set(changed) == set(asked)
    for key, changed_N in changed.items():
        assert changed_N.mean() == pytest.approx(share, abs=0.01), key


def test_artefacts_are_drawn_within_their_ends() -> None:
    drawn = draw.draw_augmentation(EVERYTHING, 224, 0, 0, range(20_000))
    for values, (low, high) in (
        (drawn.stages["blur"]["sigma_px"], EVERYTHING.blur_sigma_px),
        (drawn.stages["noise"]["sd"], EVERYTHING.noise_sd),
        (drawn.stages["jpeg"]["quality"], EVERYTHING.jpeg_quality),
        (drawn.stages["ring_blur"]["sigma_px"], EVERYTHING.ring_blur_sigma_px),
    ):
        asked = values[values > 0]
        assert asked.min() >= low
        assert asked.max() <= high
        assert asked.max() - asked.min() > 0.95 * (high - low)
