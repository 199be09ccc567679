"""Blur, noise, JPEG artefacts and rings: the centre keeps its bytes, and a batch's size changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.config.augment import STAGES
from fastpath.data import loader
from fastpath.data.augment import artefacts, colour, draw, stages
from fastpath.data.augment.stages import noise
from fastpath.runtime import Runtime
from fastpath.types import CENTRE, ChannelStats, Patches, Samples

ROWS = np.arange(60, dtype=np.int64)
RING = {"ring_blur_p": 0.5, "ring_stain_p": 0.5, "ring_swap_p": 0.5}
SEEN = {"blur_sigma_px": (1.0, 2.0)}  # smooth patches hide less
WITH_ARTEFACTS = {"blur_p": 0.5, "noise_p": 0.5, "jpeg_p": 0.5}


def images(
    patches: Patches, stats: ChannelStats, runtime: Runtime, batch_size: int = 60, size: int = 96, **values: Any
) -> NDArray[np.float32]:
    policy = AugmentConfig.model_validate({"policy": "none"} | values)
    config = Config(data=DataConfig(image_size_px=size, batch_size=batch_size, sampling="natural", augment=policy))
    batches = list(loader.train_loader(Samples(patches, ROWS, stats), config, runtime).epoch(1))
    return torch.cat([batch.images_NCHW for batch in batches]).numpy()


@pytest.mark.dali
@pytest.mark.parametrize("option", [RING, {"ring_blur_p": 1.0}, {"ring_stain_p": 1.0}, {"ring_swap_p": 1.0}])
@pytest.mark.parametrize("others", [{}, WITH_ARTEFACTS, {"hue": 0.1, "contrast": 0.3, "stain": 0.1}])
def test_a_ring_leaves_every_byte_of_the_centre_as_the_other_transforms_give_it(
    patches: Patches, stats: ChannelStats, runtime: Runtime, option: dict[str, float], others: dict[str, float]
) -> None:
    without, with_ring = (images(patches, stats, runtime, **others, **ring) for ring in ({}, option))
    assert with_ring[:, :, 32:64, 32:64].tobytes() == without[:, :, 32:64, 32:64].tobytes()
    differs = (with_ring != without).any(axis=(1, 2, 3))
    assert differs.mean() > (0.9 if 1.0 in option.values() else 0.5)  # a patch may lend its ring to itself


@pytest.mark.dali
def test_a_swapped_ring_is_another_training_patchs(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    plain = images(patches, stats, runtime)
    swapped = images(patches, stats, runtime, ring_swap_p=1.0)
    plain, swapped = (
        np.rint((values.transpose(0, 2, 3, 1) * stats.std_3 + stats.mean_3) * 255)[:, :32]
        for values in (plain, swapped)
    )
    partner_rings = {ring.tobytes() for ring in plain}
    assert {ring.tobytes() for ring in swapped} <= partner_rings
    assert 20 < len({ring.tobytes() for ring in swapped}) < 60


@pytest.mark.dali
@pytest.mark.parametrize("policy", ["strong", "ring", "everything"])
def test_batch_size_and_threads_change_no_byte(
    patches: Patches, stats: ChannelStats, runtime: Runtime, policy: str
) -> None:
    values = {**RING, "policy": "strong", "border": "black"} if policy == "everything" else {"policy": policy}
    wanted = images(patches, stats, runtime, size=48, **values)
    for batch_size in (1, 7):
        threads = dataclasses.replace(runtime, num_threads=1)
        assert images(patches, stats, threads, batch_size, size=48, **values).tobytes() == wanted.tobytes()


@pytest.mark.dali
@pytest.mark.parametrize("key", [*WITH_ARTEFACTS, *RING])
def test_a_probability_is_the_share_of_samples_that_change(
    patches: Patches, stats: ChannelStats, runtime: Runtime, key: str
) -> None:
    plain, augmented = images(patches, stats, runtime), images(patches, stats, runtime, **SEEN, **{key: 0.5})
    policy = AugmentConfig.model_validate({"policy": "none", key: 0.5})
    drawn = draw.draw_augmentation(policy, 96, 42, 1, range(60))
    asked = {
        "blur_p": lambda of: of["sigma_px"] > 0,
        "noise_p": lambda of: of["sd"] > 0,
        "jpeg_p": lambda of: of["quality"] > 0,
        "ring_blur_p": lambda of: of["sigma_px"] > 0,
        "ring_stain_p": lambda of: (of["change"] != draw.SAME_STAIN).any(axis=(1, 2)),
        "ring_swap_p": lambda of: of["partner"] >= 0,
    }[key](drawn.stages[key.removesuffix("_p")])
    changed = (augmented != plain).any(axis=(1, 2, 3))
    assert not (changed & ~asked).any()
    assert (asked & ~changed).sum() <= 1  # a patch may lend its ring to itself
    assert 0.25 < asked.mean() < 0.75


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_noise_is_normal_and_the_seeds(seed: int) -> None:
    field = noise.noise_field(seed, 8) / noise.NOISE_LEVELS
    assert field.mean() == pytest.approx(0, abs=0.005)
    assert field.std() == pytest.approx(1, abs=0.005)
    assert not np.array_equal(field[:8, :8], noise.noise_field((seed + 1) % 2**32, 8)[:8, :8])


def test_the_matrix_of_a_stain_does_to_its_pixels_what_the_stain_does() -> None:
    rng = np.random.default_rng(0)
    # Two stains of varying strength: what tissue is made of.
    density = rng.uniform(0.05, 0.6, (8, 64, 2)) @ colour.STAINS_33[:2]
    pixels = np.exp(-density).astype(np.float32)
    stain = draw.SAME_STAIN + rng.uniform(-0.1, 0.1, (8, 2, 3))
    matrices = colour.stain_matrices(pixels, stain)
    mapped = np.einsum("nij,nkj->nki", matrices[:, :, :3], 255 * pixels) + matrices[:, None, :, 3]
    assert np.abs(mapped - 255 * colour.shift_stains(pixels, stain)).mean() < 2


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_a_probability_and_makes_the_inputs_that_it_names(name: str) -> None:
    policy = AugmentConfig.model_validate({f"{name}_p": 0.5})
    assert list(artefacts.asked_for(policy)) == [name]
    assert policy.artefacts
    assert not AugmentConfig.model_validate({"policy": "none"}).artefacts
    drawn = draw.draw_augmentation(policy, 96, 0, 0, range(20))
    assert set(drawn.stages) == {name}
    for values_N in drawn.stages[name].values():
        assert len(values_N) == 20
    picked = drawn.at(np.array([3, 1]))
    for key, values_N in picked.stages[name].items():
        np.testing.assert_array_equal(values_N, drawn.stages[name][key][[3, 1]])
    columns = artefacts.columns(policy, drawn.stages, np.full((20, 64, 3), 0.5, np.float32))
    inputs, kinds = artefacts.finisher(policy, 0, 96)(columns), artefacts.kinds(policy)
    assert list(inputs) == list(kinds)
    for key, values in inputs.items():
        assert len(values) == 20
        assert {value.dtype.type for value in values} == {kinds[key][1]}


def test_stages_of_the_ring_come_last() -> None:
    on_ring = [artefacts.stage(name).on_ring for name in STAGES]
    assert on_ring == sorted(on_ring)
    folder = Path(stages.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(STAGES)


@given(st.integers(3, 200))
def test_the_centre_is_a_third_in_the_middle(patch_px: int) -> None:
    centre = CENTRE.pixels(patch_px)
    low, high = centre.start, centre.stop
    assert low == patch_px - high
    assert abs((high - low) - patch_px / 3) < 2
