"""What is odd about a patch, told from its pixels at pack time. Flags inform; nothing is dropped unasked.

Thresholds were set on 5,000 patches of the Kaggle set; docs/data.md has the counts they give there.
"""

from __future__ import annotations

from enum import IntFlag

import numpy as np

from fastpath.errors import UsageError
from fastpath.store import format as fmt

BLACK_MEAN, WHITE_MEAN = 25.0, 245.0
"""Of all channels, grey levels. The darkest of 5,020 real patches has a mean of 52.9, the next 66.4: below half of that
there is no tissue, only what lies beyond a slide's edge, with the noise that JPEG leaves there."""
CONSTANT_STD = 6.0  # of the channel that varies most, grey levels
BLURRED_VARIANCE = 100.0  # of the Laplacian, squared grey levels; tissue in focus has thousands
GREEN_EXCESS = 4.0  # haematoxylin and eosin both absorb green most: more green than red and blue is not H&E
NEAR_BITS = 3  # perceptual hashes of 64 bits that differ in at most so many
ROWS_TOGETHER = 1 << 16  # patches judged at a time, which bounds the memory it takes
NEAR_STD = 30.0  # below this spread a patch is mostly glass, and glass looks like glass


class Flag(IntFlag):
    """Bits of the index's `flags` column."""

    DUPLICATE = 1
    """The same pixels as an earlier patch of the store."""
    CONFLICT = 2
    """The same pixels as a patch with another label."""
    CONSTANT = 4
    """Nearly one colour."""
    BLACK = 8
    """Nearly black all over."""
    WHITE = 16
    """Nearly white all over."""
    BLURRED = 32
    """Variance of the Laplacian far below that of tissue in focus, and not nearly constant."""
    PALETTE = 64
    """Greener than haematoxylin and eosin can be."""
    NEAR_DUPLICATE = 128
    """A perceptual hash within 3 bits of an earlier patch's; patches of mostly glass are not compared."""
    ID_MISMATCH = 256
    """The id looks like the SHA-1 of the pixels, as most of the source's do, and is not."""


def names() -> tuple[str, ...]:
    """Return the flags' names as the command line spells them."""
    return tuple(flag.name.lower().replace("_", "-") for flag in Flag if flag.name)


def parse(name: str) -> Flag:
    """Return the flag of a name as the command line spells it.

    Raises:
        UsageError: There is no such flag.
    """
    if name not in names():
        raise UsageError("--drop", f"found '{name}', wanted one of {', '.join(names())}", "correct the name")
    return Flag[name.upper().replace("-", "_")]


def counts(flags_N: np.ndarray) -> dict[str, int]:
    """Return how many patches carry each flag."""
    return {name: int(((flags_N & int(parse(name))) != 0).sum()) for name in names()}


def flags_of(rows_N: np.ndarray, pixels: int, labels_N: np.ndarray) -> np.ndarray:
    """Return the flags of a store's patches, those of pixels and those of company.

    Args:
        rows_N: What was measured (`format.ROW`); its `flags` may hold ID_MISMATCH already.
        pixels: Pixels of a patch.
        labels_N: Labels, -1 where unknown.

    Returns:
        int32 [N].
    """
    flags_N = _id_mismatches(rows_N["flags"])
    textured_N = np.empty(len(rows_N), bool)
    for first in range(0, len(rows_N), ROWS_TOGETHER):
        here = slice(first, first + ROWS_TOGETHER)
        result, textured_N[here] = _pixel_flags(rows_N[here], pixels)
        flags_N[here] |= result
    duplicate_N, conflict_N = _duplicates(rows_N["hash"], labels_N)
    flags_N[duplicate_N] |= int(Flag.DUPLICATE)
    flags_N[conflict_N] |= int(Flag.CONFLICT)
    flags_N[_near_duplicates(rows_N["phash"], textured_N & ~duplicate_N)] |= int(Flag.NEAR_DUPLICATE)
    return flags_N


def wrong_flags(rows_N: np.ndarray, pixels: int, labels_N: np.ndarray) -> np.ndarray:
    """Return which rows of an index have flags that cannot be theirs, bool [N].

    The flags of pixels are decided anew. Of those of company, patches that were left out may have been the reason, so
    a patch may be a duplicate of none that is here, but not a duplicate without being flagged as one.

    Args:
        rows_N: What the index says (`format.ROW`).
        pixels: Pixels of a patch.
        labels_N: Labels, -1 where unknown.
    """
    flags_N = rows_N["flags"]
    wrong_N: np.ndarray = (flags_N & ~int(sum(Flag))) != 0
    of_pixels = int(Flag.CONSTANT | Flag.BLACK | Flag.WHITE | Flag.BLURRED | Flag.PALETTE)
    for first in range(0, len(rows_N), ROWS_TOGETHER):
        here = slice(first, first + ROWS_TOGETHER)
        wrong_N[here] |= (flags_N[here] & of_pixels) != _pixel_flags(rows_N[here], pixels)[0]
    duplicate_N, conflict_N = _duplicates(rows_N["hash"], labels_N)
    wrong_N |= duplicate_N & ((flags_N & int(Flag.DUPLICATE)) == 0)
    wrong_N |= conflict_N & ((flags_N & int(Flag.CONFLICT)) == 0)
    return wrong_N


def _pixel_flags(rows_N: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the flags of pixels, int32 [N], and which patches have enough on them to look for near duplicates."""
    means_N3 = rows_N["sums"] / pixels
    spread_N = np.sqrt(np.maximum(rows_N["squares"] / pixels - means_N3**2, 0)).max(axis=1)
    mean_N, constant_N = means_N3.mean(axis=1), spread_N < CONSTANT_STD
    greener_N = means_N3[:, 1] > np.maximum(means_N3[:, 0], means_N3[:, 2]) + GREEN_EXCESS
    flags_N = np.zeros(len(rows_N), np.int32)
    for flag, where_N in (
        (Flag.CONSTANT, constant_N),
        (Flag.BLACK, mean_N < BLACK_MEAN),
        (Flag.WHITE, mean_N > WHITE_MEAN),
        (Flag.BLURRED, ~constant_N & (rows_N["sharpness"] < BLURRED_VARIANCE)),
        (Flag.PALETTE, greener_N),
    ):
        flags_N[where_N] |= int(flag)
    return flags_N, spread_N > NEAR_STD


def _id_mismatches(flags_N: np.ndarray) -> np.ndarray:
    """Keep ID_MISMATCH only where ids are hashes at all: where most of the source's match."""
    flags_N = flags_N.astype(np.int32)
    mismatch_N = (flags_N & int(Flag.ID_MISMATCH)) != 0
    if mismatch_N.mean() > 0.5:
        flags_N &= ~int(Flag.ID_MISMATCH)
    return flags_N


def _duplicates(hashes_N: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which patches repeat an earlier one's pixels, and which share pixels with a patch of another label."""
    halves = np.frombuffer(hashes_N.tobytes(), "<u8").reshape(-1, 2)
    order = np.lexsort((np.arange(len(halves)), halves[:, 1], halves[:, 0]))
    same = np.concatenate([[False], (halves[order][1:] == halves[order][:-1]).all(axis=1)])
    duplicate_N, conflict_N = np.zeros(len(order), bool), np.zeros(len(order), bool)
    duplicate_N[order] = same
    run = np.cumsum(~same) - 1
    known = labels_N[order] != fmt.UNLABELLED
    for pair, other in ((0, 1), (1, 0)):
        has = np.zeros(run[-1] + 1 if len(run) else 0, bool)
        has[run[known & (labels_N[order] == other)]] = True
        conflict_N[order] |= has[run] & (labels_N[order] == pair)
    return duplicate_N, conflict_N


def _near_duplicates(phash_N: np.ndarray, candidate_N: np.ndarray) -> np.ndarray:
    """Which patches have a perceptual hash within NEAR_BITS of an earlier candidate's.

    Hashes that differ in at most 3 of 64 bits agree in at least one of four 16-bit bands, so only patches that share
    a band are compared.
    """
    near_N = np.zeros(len(phash_N), bool)
    rows = np.flatnonzero(candidate_N & (phash_N != 0))
    for shift in range(0, 64, 16):
        band = (phash_N[rows] >> np.uint64(shift)) & np.uint64(0xFFFF)
        order = np.argsort(band, kind="stable")
        near_N[rows[order]] |= _near_in_band(phash_N[rows[order]], band[order])
    return near_N


def _near_in_band(hashes: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Compare each hash with all that stand before it in its run of equal bands, one distance at a time.

    Who was found near is compared no further, so a set of many near copies costs no more than one of few.
    """
    near, later = np.zeros(len(hashes), bool), np.arange(len(hashes))
    for distance in range(1, len(hashes)):
        later = later[later >= distance]
        later = later[band[later] == band[later - distance]]  # who has left its run does not come back
        if not len(later):
            break
        matches = np.bitwise_count(hashes[later] ^ hashes[later - distance]) <= NEAR_BITS
        near[later[matches]] = True
        later = later[~matches]
    return near
