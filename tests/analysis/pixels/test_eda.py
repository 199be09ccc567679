"""What `eda` measures, against values worked out by hand or by another library."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastpath.analysis.pixels import eda
from fastpath.figures import patch_figures
from fastpath.figures.patch_figures import Row


def _patches(num: int, seed: int = 0, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


def _stained(stains_23: np.ndarray, seed: int, size: int = 64) -> np.ndarray:
    """A patch of pixels that hold one stain or the other or a little of both."""
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.7, 1.6, (size * size, 2))
    amounts[: size * size // 3, 0] = 0
    amounts[-size * size // 3 :, 1] = 0
    light = eda.LIGHT * np.exp(-amounts @ stains_23) - 1
    return np.clip(np.rint(light), 0, 255).astype(np.uint8).reshape(1, size, size, 3)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_a_sample_is_of_the_class_without_repeats_and_a_prefix_of_a_larger_one(
    num: int, wanted: int, seed: int
) -> None:
    labels_N = np.random.default_rng(seed).integers(-1, 2, num).astype(np.int8)
    drawn = eda.sample_rows(labels_N, wanted, seed)
    assert set(drawn) == set(labels_N.tolist())
    for label, rows in drawn.items():
        assert (labels_N[rows] == label).all()
        assert len(set(rows.tolist())) == len(rows) == min(wanted, int((labels_N == label).sum()))
        np.testing.assert_array_equal(eda.sample_rows(labels_N, wanted + 7, seed)[label][: len(rows)], rows)


def test_a_survey_does_not_depend_on_blocks() -> None:
    images, labels = _patches(21), np.array([0, 1, -1] * 7, dtype=np.int8)

    def look(size: int) -> eda.Survey:
        rows = np.arange(21)
        return eda.survey(((rows[at : at + size], images[at : at + size]) for at in range(0, 21, size)), labels)

    whole, pieces = look(21), look(4)
    for label in (0, 1, -1):
        own = images[labels == label]
        np.testing.assert_array_equal(pieces.histograms[label], whole.histograms[label])
        np.testing.assert_array_equal(pieces.mean_patches[label], whole.mean_patches[label])
        np.testing.assert_allclose(whole.mean_patches[label], own.mean(axis=0))
        for channel in range(3):
            expected = np.histogram(own[..., channel], bins=256, range=(0, 256))[0]
            np.testing.assert_array_equal(whole.histograms[label][channel], expected)
    np.testing.assert_array_equal(pieces.brightness_N, whole.brightness_N)
    np.testing.assert_array_equal(pieces.rows_N, np.arange(21))


def test_brightness_and_saturation_are_those_of_hsv_and_luma() -> None:
    image = _patches(1, seed=3, size=4)
    brightness, saturation = eda.brightness_and_saturation(image)
    pixels = image.reshape(-1, 3) / 255
    assert saturation[0] == pytest.approx(np.mean([colorsys.rgb_to_hsv(*pixel)[1] for pixel in pixels]), abs=1e-6)
    assert brightness[0] == pytest.approx(255 * np.mean(pixels @ [0.299, 0.587, 0.114]))
    black = eda.brightness_and_saturation(np.zeros((1, 4, 4, 3), np.uint8))
    assert (black[0][0], black[1][0]) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_stain_vectors_find_the_stains_a_patch_was_made_of(seed: int) -> None:
    stains_23 = np.array([[0.60, 0.70, 0.39], [0.25, 0.88, 0.40]])
    stains_23 /= np.linalg.norm(stains_23, axis=1, keepdims=True)
    found_N23 = eda.stain_vectors(_stained(stains_23, seed))
    np.testing.assert_allclose(found_N23[0], stains_23, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(found_N23[0], axis=1), 1)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_patches_have_no_stains_and_are_no_error(level: int) -> None:
    blank = np.full((2, 32, 32, 3), level, np.uint8)
    assert np.isnan(eda.stain_vectors(blank)).all()
    grey = np.repeat(_patches(1)[..., :1], 3, axis=-1)
    assert np.isnan(eda.stain_vectors(grey)).all()


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=12))
def test_duplicate_sets_are_the_rows_of_equal_hashes(hashes: list[bytes]) -> None:
    duplicates = eda.duplicate_sets(hashes)
    for rows in duplicates:
        assert len(rows) > 1
        assert rows == [row for row, digest in enumerate(hashes) if digest == hashes[rows[0]]]
    assert len(duplicates) == sum(hashes.count(digest) > 1 for digest in set(hashes))


def test_groups_are_counted_and_unknown_ones_left_out() -> None:
    groups_N = np.array(["b", "a", None, "b", float("nan"), "b"], dtype=object)
    groups = eda.groups(groups_N, np.array([1, 0, 1, -1, 1, 0], dtype=np.int8))
    assert groups == [eda.Group("b", 3, 1, 2), eda.Group("a", 1, 0, 1)]


def test_a_contact_sheet_shows_every_pixel() -> None:
    images = _patches(3, size=8)
    sheet = patch_figures.contact_sheet([Row("", images)], 2)
    picture = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
    assert picture.shape == (2 * (8 + 6) + 6, 2 * (8 + 6) + 6, 3)
    for place, image in enumerate(images):
        top, left = 6 + place // 2 * 14, 6 + place % 2 * 14
        np.testing.assert_array_equal(picture[top : top + 8, left : left + 8], image)


def test_the_centre_is_framed_from_outside() -> None:
    image = np.full((96, 96, 3), 200, np.uint8)
    framed = patch_figures.enlarge(image, 4, centre=True)
    assert framed.shape == (384, 384, 3)
    assert (framed[128:256, 128:256] == 200).all()
    assert (framed[126:128, 128:256] == 255).all()
    assert (framed[124:126, 124:260] == 30).all()
    assert (framed[:124] == 200).all()


def test_thumbnails_average_whole_blocks() -> None:
    small, large = _patches(2, size=96), _patches(2, size=259)
    assert patch_figures.thumbnails(small) is small
    shrunk = patch_figures.thumbnails(large)
    assert shrunk.shape == (2, 86, 86, 3)
    np.testing.assert_allclose(shrunk[1, 85, 85], large[1, 255:258, 255:258].mean(axis=(0, 1)), atol=0.51)


def test_figures_are_the_same_png_each_time() -> None:
    images = _patches(20, size=48)
    labels = np.array([0, 1] * 10, dtype=np.int8)

    def draw() -> list[bytes]:
        survey = eda.survey([(np.arange(20), images)], labels)
        groups = [eda.Group("a", 12, 4, 12), eda.Group("b", 8, 0, 8)]
        stains_N23 = eda.stain_vectors(images)
        return [
            patch_figures.balance({"all": {0: 10, 1: 10}, "train": {0: 1}, "val": {-1: 3}}),
            patch_figures.histogram(1, survey.histograms),
            patch_figures.brightness_saturation(survey.brightness_N, survey.saturation_N, labels),
            patch_figures.mean_difference(survey.mean_patches[1], survey.mean_patches[0]),
            patch_figures.stains(stains_N23[~np.isnan(stains_N23).any(axis=(1, 2))]),
            patch_figures.slides(groups),
            patch_figures.slide_shares(groups),
        ]

    first, again = draw(), draw()
    assert first == again
    assert all(picture.startswith(b"\x89PNG") for picture in first)
