"""What a scanner and a file format do to a patch's pixels, and changes to all of it but its centre: what is fed.

Out of focus, noisy, compressed: these belong to the stored pixels, so they come before colour and geometry. Then the
ring, all but the centre third that decides the label, may be another patch's, blurred or restained. The operators that
do it are in `graph_artefacts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment import colour
from fastpath.data.augment.draw import SAME_STAIN, Augmentation
from fastpath.data.order import NOISE_STREAM, generator

NOISE_LEVELS = 32  # steps of the noise field per standard deviation; a byte then reaches 4 deviations
NOWHERE = -1.0  # the place in the field of what has no noise
FIELD_PX = 512  # side of the field of noise beyond the side of a patch: 262,144 places to take a patch's from


def noise_field(seed: int, patch_px: int) -> NDArray[np.int8]:
    """Return normal noise, int8 [S, S, 3], of which each sample takes a window at a place of its own.

    Drawing 27,648 normal values a sample would cost the host as much as all else it does; a field is drawn once. Two
    samples see the same noise only where they draw the same of a quarter million places.

    Args:
        seed: The run's seed.
        patch_px: Side of a patch.
    """
    side = FIELD_PX + patch_px
    field = generator(seed, NOISE_STREAM, 0).standard_normal((side, side, 3), dtype=np.float32)
    return np.asarray(np.clip(np.rint(field * NOISE_LEVELS), -127, 127).astype(np.int8))


def noise_window(field: NDArray[np.int8], place_2: NDArray[np.float64], patch_px: int) -> NDArray[np.int8]:
    """Return the window of the field, int8 [patch_px, patch_px, 3], at a place given in shares of the field."""
    top, left = (int(share * FIELD_PX) for share in place_2)
    return np.ascontiguousarray(field[top : top + patch_px, left : left + patch_px])


def partner_rows(drawn: Augmentation, rows_N: NDArray[np.int64], rows_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of the patch whose ring each sample shows: its own, or any of the training rows `rows_M`."""
    partner = (np.maximum(drawn.ring_partner_N, 0) * len(rows_M)).astype(np.int64)
    return np.where(drawn.ring_partner_N < 0, rows_N, rows_M[partner])


def columns(policy: AugmentConfig, drawn: Augmentation, probes_NK3: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Return what `inputs` are made of: N values each, in the order of `graph_artefacts.kinds`.

    Args:
        policy: What is asked for.
        drawn: The samples' parameters.
        probes_NK3: float32 [N, K, 3] in 0..1, pixels of the patches that the rings come from.
    """
    found: list[NDArray[Any]] = []
    if policy.blur_p:
        found.append(drawn.blur_px_N.astype(np.float32))
    if policy.noise_p:
        found.append(np.where(drawn.noise_sd_N[:, None] > 0, drawn.noise_place_N2, NOWHERE))
        found.append((drawn.noise_sd_N / NOISE_LEVELS).astype(np.float32))
    if policy.jpeg_p:
        found.append(drawn.jpeg_quality_N.astype(np.int32))
    if policy.ring_swap_p:
        found.append(drawn.ring_partner_N >= 0)
    if policy.ring_blur_p:
        found.append(drawn.ring_blur_px_N.astype(np.float32))
    if policy.ring_stain_p:
        found.append((drawn.ring_stain_N23 != SAME_STAIN).any(axis=(1, 2)))
        found.append(colour.stain_matrices(probes_NK3, drawn.ring_stain_N23))
    return found


def inputs(policy: AugmentConfig, columns: Sequence[NDArray[Any]], field: NDArray[np.int8], patch_px: int) -> list[Any]:
    """Return what the operators are fed: places in the field of noise become windows of it.

    Args:
        policy: What is asked for.
        columns: From `columns`.
        field: From `noise_field`.
        patch_px: Side of a patch.
    """
    found: list[Any] = list(columns)
    if policy.noise_p:
        at = int(policy.blur_p > 0)
        found[at] = [noise_window(field, place, patch_px * bool(place[0] >= 0)) for place in columns[at]]
    return found


def centre(patch_px: int) -> tuple[int, int]:
    """Return where the centre that decides the label begins and ends: 32 and 64 of 96."""
    low = patch_px // 3
    return low, patch_px - low
