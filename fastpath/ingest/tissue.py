"""Draw tissue-like patches: haematoxylin and eosin by optical density, two kinds of nuclei, fat, glass.

Every patch is a scene (stain, stroma, cells around the centre, fat, glass) and a centre. The scene's random numbers
come from a generator of its own that never sees the label, and nothing that the centre holds reaches beyond its
32×32 pixels: the ring around it is therefore the same, byte for byte, whichever label a patch is given.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

PATCH_SIZE_PX = 96
CENTRE = slice(32, 64)
"""Rows and columns of the pixels that the label speaks of."""

_PAD_PX = 16  # canvas beyond the patch, so that nuclei can be cut by its edge
_CANVAS_PX = PATCH_SIZE_PX + 2 * _PAD_PX
_TEXTURE_PX = 512
_NUM_STAMPS = 64
_LARGE_HALF_PX, _SMALL_HALF_PX = 8, 5  # half the width of a stamp: large nuclei 10 to 15 px across, small 6 to 8
_CELL_PX = 16  # the lattice of large nuclei; the centre is its 2×2 middle cells
_NUM_CELLS = PATCH_SIZE_PX // _CELL_PX
# Optical density of red, green, blue per unit of haematoxylin and of eosin.
_STAINS_23 = np.array([[0.64, 0.72, 0.30], [0.12, 0.80, 0.26]], np.float32)
_LARGE_SHARE = 0.3  # of patches that have large nuclei in the ring, whatever their label
_QUADRANT_SHARE = 0.5  # of the centre's four quadrants that hold nuclei
_SMALL_PER_LARGE = (0.25, 0.55, 0.2)  # odds of 1, 2, 3 small nuclei where a positive patch has one large


def paint_patches(
    labels_N: NDArray[np.int8], slides_N: NDArray[np.int64], *, seed: int, chunk: int = 0
) -> NDArray[np.uint8]:
    """Draw patches.

    Args:
        labels_N: 1 puts large irregular nuclei in the centre 32×32 pixels, 0 small round ones of the same total stain.
        slides_N: Number of the slide each patch comes from; patches of a slide share its stain.
        seed: Decides everything else.
        chunk: Tells apart several calls with one seed; slides look the same in all of them.

    Returns:
        RGB patches, uint8 [N, 96, 96, 3].
    """
    scene = np.random.default_rng([seed, chunk, 0])
    centre = np.random.default_rng([seed, chunk, 1])
    haematoxylin_NHW, eosin_NHW = _stroma(scene, len(labels_N))
    nuclei_NHW: Floats = np.zeros((len(labels_N), _CANVAS_PX, _CANVAS_PX), np.float32)
    _draw_ring_nuclei(nuclei_NHW, scene)
    tissue_NHW = _tissue(scene, len(labels_N))
    nuclei_NHW = nuclei_NHW[:, _PAD_PX:-_PAD_PX, _PAD_PX:-_PAD_PX] * tissue_NHW
    _draw_centre_nuclei(nuclei_NHW, labels_N == 1, centre)
    haematoxylin_NHW = haematoxylin_NHW * tissue_NHW + nuclei_NHW
    eosin_NHW = eosin_NHW * tissue_NHW * (1.0 - 0.35 * np.minimum(nuclei_NHW, 1.0))
    return _develop(haematoxylin_NHW, eosin_NHW, slides_N, seed, scene)


def _stroma(rng: np.random.Generator, num: int) -> tuple[Floats, Floats]:
    """Return haematoxylin and eosin of the ground that the cells lie on: fibres and a faint blue haze."""
    textures = _textures()
    kind_N = rng.integers(len(textures), size=num)
    corner_N2 = rng.integers(_TEXTURE_PX - PATCH_SIZE_PX, size=(num, 2))
    fibres_NHW = _windows(textures, kind_N, corner_N2)
    haze_NHW = _windows(textures, (kind_N + 1) % len(textures), corner_N2[:, ::-1])
    depth_N11 = rng.uniform(0.2, 0.6, (num, 1, 1)).astype(np.float32)
    blue_N11 = rng.uniform(0.05, 0.25, (num, 1, 1)).astype(np.float32)
    return blue_N11 * (1.0 + 0.5 * haze_NHW), depth_N11 * np.maximum(1.0 + 0.35 * fibres_NHW, 0.1)


def _draw_ring_nuclei(canvas_NHW: Floats, rng: np.random.Generator) -> None:
    """Draw the cells around the centre: large nuclei in some patches, small ones in all, sparse to crowded."""
    num = len(canvas_NHW)
    large, small = _stamps()
    crowd_N1 = rng.uniform(0.2, 0.8, (num, 1)) * (rng.random((num, 1)) < _LARGE_SHARE)
    in_cell_NL = rng.random((num, _NUM_CELLS**2)) < crowd_N1
    for cell in range(_NUM_CELLS**2):
        row, column = divmod(cell, _NUM_CELLS)
        shift_N2 = rng.integers(-3, 4, (num, 2))
        if row in (2, 3) and column in (2, 3):
            in_cell_NL[:, cell] = False
            continue
        for axis, place in enumerate((row, column)):  # away from the centre, so that none reaches into it
            if place not in (2, 3):
                shift_N2[:, axis] = np.abs(shift_N2[:, axis]) * (-1 if place < 2 else 1)
        at_N2 = np.array([row, column]) * _CELL_PX + _CELL_PX // 2 + _PAD_PX + shift_N2
        _stamp(canvas_NHW, large, at_N2, in_cell_NL[:, cell], rng)

    density_N = rng.beta(1.2, 1.8, num)
    for y in range(_PAD_PX - 4, _CANVAS_PX - _PAD_PX + 5, 8):
        for x in range(_PAD_PX - 4, _CANVAS_PX - _PAD_PX + 5, 8):
            at_N2 = np.array([y, x]) + rng.integers(-2, 3, (num, 2))
            present_N = rng.random(num) < density_N
            inside_N2 = np.clip((at_N2 - _PAD_PX) // _CELL_PX, 0, _NUM_CELLS - 1)
            present_N &= ~in_cell_NL[np.arange(num), inside_N2[:, 0] * _NUM_CELLS + inside_N2[:, 1]]
            low, high = CENTRE.start + _PAD_PX - 3, CENTRE.stop + _PAD_PX + 3
            present_N &= ((at_N2 < low) | (at_N2 >= high)).any(1)
            _stamp(canvas_NHW, small, at_N2, present_N, rng)


def _draw_centre_nuclei(patches_NHW: Floats, positive_N: Bools, rng: np.random.Generator) -> None:
    """Draw the cells that make the label: in each occupied quadrant one large nucleus, or one to three small ones."""
    num = len(patches_NHW)
    large, small = _stamps()
    occupied_N4 = rng.random((num, 4)) < _QUADRANT_SHARE
    occupied_N4[np.arange(num), rng.integers(4, size=num)] = True
    wanted_N4 = rng.choice([1, 2, 3], (num, 4), p=_SMALL_PER_LARGE)
    rank_N44 = rng.permuted(np.tile(np.arange(4), (num, 4, 1)), axis=2)
    for quadrant in range(4):
        origin_2 = CENTRE.start + _CELL_PX * np.array(divmod(quadrant, 2))
        inwards_2 = 1 - 2 * np.array(divmod(quadrant, 2))
        at_N2 = origin_2 + _CELL_PX // 2 + inwards_2 * rng.integers(0, 4, (num, 2))
        _stamp(patches_NHW, large, at_N2, occupied_N4[:, quadrant] & positive_N, rng)
        for place in range(4):
            outer_2 = np.where(inwards_2 > 0, _SMALL_HALF_PX, _CELL_PX - _SMALL_HALF_PX - 8)
            at_N2 = origin_2 + outer_2 + 7 * np.array(divmod(place, 2)) + rng.integers(0, 2, (num, 2))
            chosen_N = rank_N44[:, quadrant, place] < wanted_N4[:, quadrant]
            _stamp(patches_NHW, small, at_N2, occupied_N4[:, quadrant] & ~positive_N & chosen_N, rng)


def _tissue(rng: np.random.Generator, num: int) -> Floats:
    """Return the share of tissue in each pixel, [N, 96, 96]: 0 in fat and on bare glass, 1 in the centre."""
    tissue_NHW = np.ones((num, PATCH_SIZE_PX, PATCH_SIZE_PX), np.float32)
    middle = (PATCH_SIZE_PX - 1) / 2
    y_HW, x_HW = (axis.astype(np.float32) - middle for axis in np.mgrid[:PATCH_SIZE_PX, :PATCH_SIZE_PX])
    wave_HW = 2.0 * np.sin(x_HW / 6.0) + 2.0 * np.cos(y_HW / 8.0)
    safe_px = np.hypot(16, 16) + 1  # nothing this far from the middle touches the centre

    fatty_N = rng.random(num) < 0.35
    for odds in (1.0, 0.6, 0.35):
        radius_N, angle_N = rng.uniform(8, 24, num), rng.uniform(0, 2 * np.pi, num)
        away_N = safe_px + radius_N + rng.uniform(0, 14, num)
        rows = np.flatnonzero(fatty_N & (rng.random(num) < odds))
        at = [(away_N * turn(angle_N))[rows, None, None].astype(np.float32) for turn in (np.sin, np.cos)]
        distance = np.sqrt((y_HW - at[0]) ** 2 + (x_HW - at[1]) ** 2) - radius_N[rows, None, None].astype(np.float32)
        tissue_NHW[rows] = np.minimum(tissue_NHW[rows], np.clip(distance + 0.5, 0.02, 1.0))

    kind_N, edge_N = rng.random(num), rng.uniform(safe_px + 5, 42, num).astype(np.float32)
    angle_N = rng.uniform(0, 2 * np.pi, num).astype(np.float32)
    for rows, island in ((np.flatnonzero(kind_N < 0.08), False), (np.flatnonzero(kind_N > 0.96), True)):
        turn_y, turn_x = np.sin(angle_N[rows])[:, None, None], np.cos(angle_N[rows])[:, None, None]
        reach = np.hypot(y_HW, x_HW)[None] if island else y_HW * turn_y + x_HW * turn_x
        inside = np.clip(edge_N[rows, None, None] + wave_HW - reach, 0.02, 1.0)
        tissue_NHW[rows] = np.minimum(tissue_NHW[rows], inside)
    tissue_NHW[:, CENTRE, CENTRE] = 1.0
    return tissue_NHW


def _develop(
    haematoxylin_NHW: Floats, eosin_NHW: Floats, slides_N: NDArray[np.int64], seed: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Turn amounts of stain into light (Beer and Lambert), with each slide's own stain, strength and lamp."""
    stains_S23, lamp_S3 = _slides(int(slides_N.max(initial=0)) + 1, seed)
    noise_NHW = 2.5 * rng.standard_normal(haematoxylin_NHW.shape, np.float32) + np.float32(0.5)
    patches_NHW3 = np.empty((*haematoxylin_NHW.shape, 3), np.uint8)
    for channel in range(3):
        blue_N11, pink_N11 = (stains_S23[slides_N, stain, channel][:, None, None] for stain in (0, 1))
        light_NHW = np.exp(-(blue_N11 * haematoxylin_NHW + pink_N11 * eosin_NHW))
        light_NHW = light_NHW * lamp_S3[slides_N, channel][:, None, None] + noise_NHW
        patches_NHW3[..., channel] = np.clip(light_NHW, 0, 255)
    return patches_NHW3


def _slides(num_slides: int, seed: int) -> tuple[Floats, Floats]:
    """Return each slide's stain vectors [S, 2, 3] and lamp colour [S, 3] (0..255), drawn slide by slide."""
    stains_S23 = np.empty((num_slides, 2, 3), np.float32)
    lamp_S3 = np.empty((num_slides, 3), np.float32)
    for slide in range(num_slides):
        rng = np.random.default_rng([seed, slide, 2])
        strength_21 = rng.uniform([[0.85], [0.75]], [[1.45], [1.35]])
        stains_S23[slide] = _STAINS_23 * rng.uniform(0.88, 1.12, (2, 3)) * strength_21
        lamp_S3[slide] = rng.uniform(233, 248) + rng.uniform(-3, 3, 3)
    return stains_S23, lamp_S3


def _stamp(
    canvas_NHW: Floats, stamps_KHW: Floats, at_N2: NDArray[np.int64], present_N: Bools, rng: np.random.Generator
) -> None:
    """Lay a random stamp at `at_N2` (row and column of its middle) on the patches where one is `present_N`."""
    which_N = rng.integers(len(stamps_KHW), size=len(canvas_NHW))
    rows = np.flatnonzero(present_N)
    reach = np.arange(stamps_KHW.shape[1]) - stamps_KHW.shape[1] // 2
    y, x = at_N2[rows, 0, None, None] + reach[:, None], at_N2[rows, 1, None, None] + reach
    target = (rows[:, None, None], y, x)
    canvas_NHW[target] = np.maximum(canvas_NHW[target], stamps_KHW[which_N[rows]])


def _windows(textures_KHW: Floats, kind_N: NDArray[np.int64], corner_N2: NDArray[np.int64]) -> Floats:
    reach = np.arange(PATCH_SIZE_PX)
    y, x = corner_N2[:, 0, None, None] + reach[:, None], corner_N2[:, 1, None, None] + reach
    windows: Floats = textures_KHW[kind_N[:, None, None], y, x]
    return windows


@lru_cache(maxsize=1)
def _textures() -> Floats:
    """Return fibres in eight directions, [8, 512, 512], mean 0 and standard deviation 1; the same in every process."""
    rng = np.random.default_rng(20)
    fy, fx = np.fft.fftfreq(_TEXTURE_PX)[:, None], np.fft.fftfreq(_TEXTURE_PX)
    textures = []
    for angle in np.arange(8) * np.pi / 8:
        along, across = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
        passed = np.exp(-((along / 0.018) ** 2) - (across / 0.09) ** 2) + 0.15 * np.exp(-(fx**2 + fy**2) / 0.03)
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_TEXTURE_PX, _TEXTURE_PX))) * passed).real
        textures.append((field - field.mean()) / field.std())
    return np.array(textures, np.float32)


@lru_cache(maxsize=1)
def _stamps() -> tuple[Floats, Floats]:
    """Return haematoxylin of large irregular nuclei [64, 17, 17] and of small round ones [64, 11, 11].

    Either kind may be pale or dense, and the largest of the small reach the smallest of the large: it takes size
    and outline together to tell them apart, not darkness.
    """
    rng = np.random.default_rng(21)
    large, small = [], []
    for number in range(_NUM_STAMPS):
        large.append(_nucleus(rng, _LARGE_HALF_PX, rng.uniform(4.4, 6.9), wobble=0.16, pale=number % 4 > 0))
        small.append(_nucleus(rng, _SMALL_HALF_PX, rng.uniform(2.9, 4.6), wobble=0.04, pale=number % 3 == 0))
    return np.array(large, np.float32), np.array(small, np.float32)


def _nucleus(rng: np.random.Generator, half_px: int, radius_px: float, wobble: float, pale: bool) -> Floats:
    """Draw one nucleus with a wobbly outline: evenly dense, or pale with a dark membrane and nucleoli."""
    y, x = np.mgrid[-half_px : half_px + 1, -half_px : half_px + 1]
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    outline = np.full(angle.shape, radius_px)
    for waves in (2, 3, 5):
        outline += radius_px * wobble * rng.normal(0, 2 / (1 + waves)) * np.cos(waves * angle + rng.uniform(0, 6.3))
    depth = np.minimum(outline, half_px - 0.7) - distance  # px from the membrane, positive inside
    inside = np.full(depth.shape, 1.25)
    if pale:
        inside = 0.55 + 0.45 * np.exp(-(((depth - 0.6) / 0.9) ** 2))
        for _ in range(rng.integers(1, 4)):
            at = rng.uniform(-0.45, 0.45, 2) * radius_px
            inside += 0.9 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 1.8)
    inside += 0.12 * rng.normal(size=depth.shape)
    haematoxylin: Floats = np.clip(depth + 0.5, 0.0, 1.0) * inside * rng.uniform(0.75, 1.3)
    return haematoxylin
