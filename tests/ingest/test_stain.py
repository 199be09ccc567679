"""Stain normalisation computes what torchstain and HistomicsTK do, and leaves alone what has no stain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from fastpath.errors import UsageError
from fastpath.ingest import stain

# Their own results on an 8 by 8 grid of each patch, as bytes in hexadecimal: Macenko's method by torchstain 1.4.1 with
# its built-in reference, Reinhard's by HistomicsTK 1.4.0 with the reference of its examples and glass masked out.
REFERENCE: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "stain_reference.json").read_text())
METHODS = {"macenko": stain.macenko, "reinhard": stain.reinhard}
MADE = [name for name in REFERENCE["macenko"] if name.startswith("made")]
REAL = [name for name in REFERENCE["macenko"] if name not in MADE]
GRID = slice(6, None, 12)

HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def stained(number: int, size: int = 96) -> NDArray[np.uint8]:
    """Nuclei in stroma with some glass: waves of two stains, whose vectors and amounts differ by number."""
    y, x = np.mgrid[0:size, 0:size] / size
    turn = 0.06 * (number - 1.5)
    pink = EOSIN + np.array([0, 0, turn + 0.1])
    nuclei = np.clip(np.sin(23 * x + number) * np.sin(19 * y + 2 * number), 0, 1) * (0.9 + 0.3 * number)
    stroma = np.clip(0.55 + 0.6 * np.sin(5 * x + 3 * y + number), 0, None) * (0.9 - 0.1 * number)
    density = nuclei[..., None] * (HAEMATOXYLIN + np.array([turn, -turn, 0])) + stroma[..., None] * pink
    shade = 0.02 * np.sin(71 * x * y)[..., None] * np.array([1.0, -0.5, 0.7])
    patch: NDArray[np.uint8] = np.clip(np.rint(242 * np.exp(-density - shade)), 0, 255).astype(np.uint8)
    return patch


def wanted(method: str, name: str) -> NDArray[np.int64]:
    values = np.frombuffer(bytes.fromhex(REFERENCE[method][name]), np.uint8)
    return values.reshape(8, 8, 3).astype(np.int64)


def differ(method: str, name: str, patch: NDArray[np.uint8]) -> NDArray[np.int64]:
    distance: NDArray[np.int64] = np.abs(METHODS[method](patch)[GRID, GRID] - wanted(method, name))
    return distance


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("method", METHODS)
def test_made_patches_are_normalised_as_by_the_kept_library(method: str, name: str) -> None:
    patch = stained(int(name.removeprefix("made ")))
    # They cut off what we round; and a byte of the patch itself may be another on another machine.
    assert differ(method, name, patch).max() <= 2
    assert np.abs(METHODS[method](patch).astype(int) - patch).mean() > 5


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("method", METHODS)
def test_real_patches_are_normalised_as_by_the_kept_library(sample_folder: Path, method: str, name: str) -> None:
    patch = tifffile.imread(sample_folder / "train" / f"{name}.tif")
    assert differ(method, name, patch).max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_tissue_stained_darker_comes_out_as_the_tissue_stained_lighter(method: str) -> None:
    light = stained(1)
    dark = np.clip(np.rint(240 * (light / 240.0) ** 1.5), 0, 255).astype(np.uint8)
    before = np.abs(light.astype(int) - dark).mean()
    after = np.abs(METHODS[method](light).astype(int) - METHODS[method](dark)).mean()
    assert before > 12
    assert after < before / 2


def blanks() -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    glass = rng.integers(235, 250, (96, 96, 3), np.uint8)
    dust = glass.copy()
    dust[40:48, 40:60] = stained(1)[40:48, 40:60]  # 160 of 9,216 pixels
    one_colour = np.broadcast_to(np.array([180, 110, 170], np.uint8), (96, 96, 3)).copy()
    return {
        "white": np.full((96, 96, 3), 255, np.uint8),
        "glass": glass,
        "dust on glass": dust,
        "black": np.zeros((96, 96, 3), np.uint8),
        "nearly black": rng.integers(0, 6, (96, 96, 3), np.uint8),
        "one colour": one_colour,
    }


@pytest.mark.parametrize("name", blanks())
@pytest.mark.parametrize("method", METHODS)
def test_a_patch_that_does_not_say_its_stains_is_returned_as_it_is(method: str, name: str) -> None:
    patch = blanks()[name]
    kept = patch.copy()
    assert METHODS[method](patch) is patch
    np.testing.assert_array_equal(patch, kept)


@pytest.mark.parametrize("method", METHODS)
def test_a_black_frame_neither_changes_nor_counts(method: str) -> None:
    inner = stained(2)
    framed = np.zeros((120, 120, 3), np.uint8)
    framed[12:-12, 12:-12] = inner
    normalised = METHODS[method](framed)
    assert not normalised[:12].any()
    assert not normalised[:, -12:].any()
    np.testing.assert_allclose(normalised[12:-12, 12:-12].astype(int), METHODS[method](inner), atol=1)


def test_reinhard_leaves_glass_and_meets_the_reference() -> None:
    patch = stained(1)
    patch[:20] = 244
    normalised = stain.reinhard(patch)
    np.testing.assert_array_equal(normalised[:20], patch[:20])
    tissue = normalised[20:][patch[20:].min(axis=2) <= 205]
    lab = np.log(tissue @ stain.RGB_TO_LMS_33.T) @ stain.LMS_TO_LAB_33.T
    np.testing.assert_allclose(lab.mean(axis=0), stain.REINHARD_MEAN_3, atol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_patch_given_is_not_written_to_and_the_result_depends_on_it_alone(method: str) -> None:
    patch = stained(0)
    patch.flags.writeable = False
    first: Any = METHODS[method](patch)
    METHODS[method](stained(3))
    np.testing.assert_array_equal(METHODS[method](patch), first)
    assert (first.dtype, first.shape) == (np.uint8, patch.shape)


def test_an_unknown_method_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="found stain normalisation 'vahadane', wanted one of none, macenko, reinhard"):
        stain.normaliser("vahadane")
    patch = stained(0)
    assert stain.normaliser("none")(patch) is patch
