"""What a set of patches looks like, in numbers: pure functions on arrays, in one pass over blocks of patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES: Mapping[int, str] = {0: "negative", 1: "positive", -1: "unlabelled"}  # keys and names of files
CLASS_WORDS: Mapping[int, str] = {0: "normal", 1: "tumour", -1: "unlabelled"}  # what pages, pictures and lines say
LUMA_3 = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

# Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009: the transmitted
# light I0, the optical density below which a pixel is glass (beta), and the percentile that stands for the extreme
# angle (alpha).
LIGHT, GLASS_DENSITY, ANGLE_PERCENTILE = 240.0, 0.15, 1.0
MIN_TISSUE_SHARE = 0.1  # of a patch; with less, one percent of it is a few pixels and the estimate is noise
MIN_STAIN_DEGREES = 1.0  # vectors closer than this are one stain

# Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", 2001: to compare with.
REFERENCE_STAINS_23 = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])

Block = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Rows int64 [N] and their patches uint8 [N, H, W, 3]."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over sampled patches found.

    Attributes:
        rows_N: int64 [N], the rows looked at, in the order they came.
        brightness_N: float64 [N], mean luma of each patch, 0 to 255.
        saturation_N: float64 [N], mean HSV saturation of each patch, 0 to 1.
        histograms: By label, int64 [3, 256]: pixels at each grey level of red, green and blue.
        mean_patches: By label, float64 [H, W, 3]: the mean of its patches, 0 to 255.
    """

    rows_N: NDArray[np.int64]
    brightness_N: NDArray[np.float64]
    saturation_N: NDArray[np.float64]
    histograms: dict[int, NDArray[np.int64]]
    mean_patches: dict[int, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Group:
    """One slide's share of a store.

    Attributes:
        name: The slide.
        num_patches: Its patches.
        num_positive: Of these, labelled 1.
        num_labelled: Of these, labelled at all.
    """

    name: str
    num_patches: int
    num_positive: int
    num_labelled: int


def sample_rows(labels_N: NDArray[np.integer], per_class: int, seed: int) -> dict[int, NDArray[np.int64]]:
    """Draw rows of each label without replacement, in random order.

    Args:
        labels_N: int [N], -1 where unknown.
        per_class: The most rows of one label.
        seed: Decides which. The first n of a draw are the draw of n.

    Returns:
        By label, those of `CLASS_NAMES` that occur.
    """
    rows_by_label = {label: np.flatnonzero(labels_N == label).astype(np.int64) for label in CLASS_NAMES}
    return {
        label: np.random.default_rng([seed, label + 1]).permutation(rows)[:per_class]
        for label, rows in rows_by_label.items()
        if len(rows)
    }


def survey(blocks: Iterable[Block], labels_N: NDArray[np.integer]) -> Survey:
    """Look at patches block by block; memory does not grow with their number but for three values a patch.

    Args:
        blocks: Rows and pixels; at least one block. The result does not depend on how patches are cut into blocks.
        labels_N: int [N], label of every row of the store.
    """
    rows_B, brightness_B, saturation_B = [], [], []
    histograms: dict[int, NDArray[np.int64]] = {}
    totals: dict[int, NDArray[np.float64]] = {}
    for rows, images_NHWC in blocks:
        brightness, saturation = brightness_and_saturation(images_NHWC)
        rows_B.append(rows)
        brightness_B.append(brightness)
        saturation_B.append(saturation)
        for label in np.unique(labels_N[rows]).tolist():
            own = labels_N[rows] == label
            histograms[label] = histograms.get(label, 0) + channel_histograms(images_NHWC[own])
            totals[label] = totals.get(label, 0) + images_NHWC[own].sum(axis=0, dtype=np.float64)
    rows_N = np.concatenate(rows_B)
    counts = {label: int((labels_N[rows_N] == label).sum()) for label in totals}
    return Survey(
        rows_N=rows_N,
        brightness_N=np.concatenate(brightness_B),
        saturation_N=np.concatenate(saturation_B),
        histograms=histograms,
        mean_patches={label: total / counts[label] for label, total in totals.items()},
    )


def channel_histograms(images_NHWC: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return int64 [3, 256]: how many pixels have each grey level of red, green and blue."""
    flat = images_NHWC.reshape(-1, 3)
    return np.stack([np.bincount(flat[:, channel], minlength=256) for channel in range(3)]).astype(np.int64)


def brightness_and_saturation(images_NHWC: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each patch's mean luma (0 to 255) and mean HSV saturation (0 to 1), float64 [N] each."""
    brightness = images_NHWC.mean(axis=(1, 2), dtype=np.float64) @ LUMA_3
    red, green, blue = (images_NHWC[..., channel] for channel in range(3))
    largest = np.maximum(np.maximum(red, green), blue)
    chroma = largest - np.minimum(np.minimum(red, green), blue)
    saturation = np.divide(chroma, np.maximum(largest, 1), dtype=np.float32)
    return brightness, saturation.mean(axis=(1, 2), dtype=np.float64)


def optical_density(pixels_K3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return float64 [K, 3]: the natural logarithm of how much of the light was absorbed, 0 on bare glass."""
    return np.asarray(_DENSITY[pixels_K3])


_DENSITY = -np.log((np.arange(256) + 1) / LIGHT)


def stain_vectors(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Estimate each patch's haematoxylin and eosin as Macenko et al. do (ISBI 2009).

    In the plane of the two main directions of a patch's optical density, the stains are the extreme angles. Patches
    are taken one by one because pooled over slides the main directions are how slides differ, not how stains do.

    Args:
        images_NHWC: uint8 [N, H, W, 3].

    Returns:
        float64 [N, 2, 3], unit vectors of optical density (red, green, blue), haematoxylin first; NaN where a patch
        has too little tissue or only one stain, which is no error.
    """
    found_N23 = np.full((len(images_NHWC), 2, 3), np.nan)
    for patch, image in enumerate(images_NHWC):
        density = optical_density(image.reshape(-1, 3))
        tissue = density[(density > GLASS_DENSITY).all(axis=1)]
        if len(tissue) >= max(MIN_TISSUE_SHARE * len(density), 100):
            found_N23[patch] = _extreme_directions(tissue)
    return found_N23


def _extreme_directions(density_K3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [2, 3], the direction that absorbs more red first; NaN where the two are one."""
    _, directions = np.linalg.eigh(np.cov(density_K3, rowvar=False))
    plane = directions[:, [2, 1]]  # eigenvalues ascend
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)  # towards more stain, so that no angle wraps
    along, across = (density_K3 @ plane).T
    low, high = np.percentile(np.arctan2(across, along), [ANGLE_PERCENTILE, 100 - ANGLE_PERCENTILE])
    if np.rad2deg(high - low) < MIN_STAIN_DEGREES:
        return np.full((2, 3), np.nan)
    stains = np.stack([plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in (low, high)])
    return np.asarray(stains[np.argsort(-stains[:, 0], kind="stable")])


def stain_colour(stain_3: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the colour (red, green, blue, 0 to 255) of white light through a stain of density 1."""
    red, green, blue = np.clip(np.rint(255 * np.exp(-np.asarray(stain_3))), 0, 255).astype(int).tolist()
    return red, green, blue


def duplicate_sets(hashes_N: Sequence[bytes]) -> list[list[int]]:
    """Return the rows that share a pixel hash, each set ascending, in order of its first row."""
    rows_of: dict[bytes, list[int]] = {}
    for row, digest in enumerate(hashes_N):
        rows_of.setdefault(digest, []).append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def groups(groups_N: NDArray[np.object_], labels_N: NDArray[np.integer]) -> list[Group]:
    """Count each slide's patches, most patches first, then by name.

    Args:
        groups_N: object [N], names; None where unknown, which is left out.
        labels_N: int [N], -1 where unknown.
    """
    known_N = np.array([isinstance(name, str) for name in groups_N], dtype=bool)
    names, place_N = np.unique(groups_N[known_N].astype(str), return_inverse=True)
    labels = labels_N[known_N]
    patches = np.bincount(place_N, minlength=len(names)).tolist()
    positive = np.bincount(place_N[labels == 1], minlength=len(names)).tolist()
    labelled = np.bincount(place_N[labels >= 0], minlength=len(names)).tolist()
    summaries = [Group(*values) for values in zip(names.tolist(), patches, positive, labelled, strict=True)]
    return sorted(summaries, key=lambda group: (-group.num_patches, group.name))
