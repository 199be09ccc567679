"""Drift against the training set: measures of the patches themselves, and what is said of their difference."""

from __future__ import annotations

import numpy as np
import pytest

from fastpath.analysis import intervals
from fastpath.analysis.pixels import appearance, drift, eda
from fastpath.analysis.pixels.appearance import MEASURES


def _stained(haematoxylin: float, eosin: float, tissue: float = 1.0) -> np.ndarray:
    """Return a patch of 32 px whose left part holds that much of the reference stains; the rest is glass."""
    unit_23 = eda.REFERENCE_STAINS_23 / np.linalg.norm(eda.REFERENCE_STAINS_23, axis=1, keepdims=True)
    colour_3 = eda.LIGHT * np.exp(-(np.array([haematoxylin, eosin]) @ unit_23)) - 1
    patch = np.full((32, 32, 3), 239, np.uint8)
    patch[:, : round(32 * tissue)] = np.rint(colour_3)
    return patch


def test_stains_of_known_amounts_are_found() -> None:
    given = [(0.9, 0.6, 1.0), (0.6, 0.9, 0.5), (0.9, 0.6, 0.05)]
    found_N3 = appearance.stains_and_rest(np.stack([_stained(*amounts) for amounts in given]))[:, :3]
    assert found_N3[:, 0] == pytest.approx([1.0, 0.5, 2 / 32])
    assert found_N3[:2, 1:] == pytest.approx(np.array([[0.9, 0.6], [0.6, 0.9]]), abs=0.02)
    assert np.isnan(found_N3[2, 1:]).all()  # hardly any tissue


def test_brightness_from_the_index_is_that_of_the_pixels() -> None:
    images_NHWC = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    expected_N, _ = eda.brightness_and_saturation(images_NHWC)
    assert appearance.brightness(images_NHWC.mean(axis=(1, 2))) == pytest.approx(expected_N)


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (0.0, "brightness is like the training set's"),
        (3.5, "a little brighter than the training set"),
        (-6.5, "darker than the training set"),
        (25.0, "much brighter than the training set"),
    ],
)
def test_a_shift_is_told_in_numbers_and_words(shift: float, words: str) -> None:
    rng = np.random.default_rng(4)
    training_M, found_N = rng.normal(160, 10, 4000), rng.normal(160 + shift, 10, 2000)
    units = intervals.units_of(np.array([f"s{row % 20}" for row in range(2000)], object), 2000)
    measured = drift.measure_shift(MEASURES["brightness"], training_M, found_N, units)
    assert measured is not None
    assert measured.words.startswith(words)
    assert measured.difference.value == pytest.approx(shift, abs=0.8)
    assert measured.difference.low < measured.difference.value < measured.difference.high
    assert measured.standardised == pytest.approx(shift / 10, abs=0.1)
    if not shift:
        assert measured.outside == pytest.approx(0.05, abs=0.02)


def test_no_direction_is_named_without_doubt_where_slides_are_few() -> None:
    rng = np.random.default_rng(5)
    slide_N = np.repeat(np.arange(5), 100)
    found_N = 160 + rng.normal(6, 12, 5)[slide_N] + rng.normal(0, 3, 500)
    units = intervals.units_of(np.array([f"s{slide}" for slide in slide_N], object), 500)
    measured = drift.measure_shift(MEASURES["brightness"], rng.normal(160, 10, 4000), found_N, units)
    assert measured is not None
    assert measured.difference.low < 0 < measured.difference.high
    assert "as far as so few can tell" in measured.words or "is like the training set's" in measured.words


def test_what_cannot_be_compared_is_left_out() -> None:
    units = intervals.units_of(None, 3)
    nothing, some = np.full(3, np.nan), np.arange(3.0)
    assert drift.measure_shift(MEASURES["eosin"], some, nothing, units) is None
    assert drift.measure_shift(MEASURES["eosin"], np.zeros(3), some, units) is None
