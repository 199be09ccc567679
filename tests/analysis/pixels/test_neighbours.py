"""Neighbours against brute force; pixels against NumPy's own correlation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpath.analysis.pixels import neighbours


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), asked=st.integers(1, 20), among=st.integers(1, 30), count=st.integers(1, 4))
def test_neighbours_are_those_of_brute_force(seed: int, asked: int, among: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    asked_ND, among_MD = (rng.normal(size=(size, 5)).astype(np.float32) for size in (asked, among))
    place_NK, similarity_NK = neighbours.nearest(asked_ND, among_MD, count)
    cosine_NM = asked_ND @ among_MD.T
    cosine_NM /= np.linalg.norm(asked_ND, axis=1)[:, None] * np.linalg.norm(among_MD, axis=1)
    np.testing.assert_allclose(similarity_NK, -np.sort(-cosine_NM, axis=1)[:, :count], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(cosine_NM, place_NK, axis=1), similarity_NK, atol=1e-5)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_cosine_of_hashes_counts_the_bits_that_differ(first: int, other: int) -> None:
    features_ND = neighbours.hash_features(np.array([first, other], np.uint64))
    assert features_ND[0] @ features_ND[1] / 64 == pytest.approx(1 - (first ^ other).bit_count() / 32)


@pytest.mark.parametrize("view", range(8))
def test_a_turned_copy_is_found_whatever_its_brightness(view: int) -> None:
    patch = np.random.default_rng(view).integers(0, 200, (1, 12, 12, 3), dtype=np.uint8)
    turned = np.rot90(patch, view % 4, axes=(1, 2))
    turned = turned[:, ::-1] if view >= 4 else turned
    assert neighbours.pixel_correlation(patch, turned // 2 + 60)[0] > 0.99


def test_others_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    first, other = (rng.integers(0, 255, (5, 16, 16, 3), dtype=np.uint8) for _ in range(2))
    correlation_N = neighbours.pixel_correlation(first, other)
    assert (np.abs(correlation_N) < 0.4).all()
    plain = np.corrcoef(first[0].mean(axis=2).ravel(), other[0].mean(axis=2).ravel())[0, 1]
    assert correlation_N[0] >= plain - 1e-5


def test_a_patch_of_one_colour_resembles_none() -> None:
    flat = np.full((1, 8, 8, 3), 250, np.uint8)
    assert neighbours.pixel_correlation(flat, flat)[0] == 0
