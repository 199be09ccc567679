"""Which patches of one part resemble which of another: nearest neighbours, and what the pixels say of each pair.

N patches asked for, M to choose from, K neighbours each, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NUM_VIEWS = 8
_FLAT = 1e-3  # a patch whose grey levels vary less than this resembles anything


def hash_features(hashes_N: NDArray[np.uint64]) -> Floats:
    """Return perceptual hashes as vectors of ±1, float32 [N, 64].

    Their cosine is 1 − d / 32, d being the bits that differ.
    """
    bytes_N8 = np.ascontiguousarray(hashes_N, dtype="<u8").view(np.uint8).reshape(len(hashes_N), 8)
    result: Floats = np.unpackbits(bytes_N8, axis=1).astype(np.float32) * 2 - 1
    return result


def nearest(asked_ND: Floats, among_MD: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the `count` neighbours of the highest cosine similarity: int64 [N, K] and float32 [N, K], best first.

    Args:
        asked_ND: Features of the patches asked for.
        among_MD: Features of those to choose from.
        count: K, at most M.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(count, len(among_MD)), metric="cosine", algorithm="brute").fit(among_MD)
    distance_NK, place_NK = index.kneighbors(asked_ND)
    return place_NK.astype(np.int64), (1 - distance_NK).astype(np.float32)


def pixel_correlation(one_NHWC: NDArray[np.uint8], other_NHWC: NDArray[np.uint8]) -> Floats:
    """Return how alike the pixels of each pair are, float32 [N]: the best Pearson correlation over the eight views.

    Of grey levels; 1 is the same picture up to brightness, contrast, flips and quarter turns. A patch of one colour
    resembles none.

    Args:
        one_NHWC: uint8 [N, H, H, 3].
        other_NHWC: The same shape.
    """
    one_NL = _standard(_grey(one_NHWC))
    other_NHW = _grey(other_NHWC)
    best_N = np.full(len(one_NL), -1.0, np.float32)
    for view in range(NUM_VIEWS):
        turned_NHW = np.rot90(other_NHW, view % 4, axes=(1, 2))
        turned_NHW = turned_NHW[:, :, ::-1] if view >= 4 else turned_NHW
        best_N = np.maximum(best_N, np.einsum("nl,nl->n", one_NL, _standard(turned_NHW)))
    return best_N


def _grey(images_NHWC: NDArray[Any]) -> Floats:
    result: Floats = images_NHWC.mean(axis=3, dtype=np.float32)
    return result


def _standard(grey_NHW: Floats) -> Floats:
    """Return each patch as a vector of mean 0 and length 1; of zeros where it is flat."""
    flat_NL = np.ascontiguousarray(grey_NHW).reshape(len(grey_NHW), -1)
    flat_NL = flat_NL - flat_NL.mean(axis=1, keepdims=True)
    length_N1 = np.linalg.norm(flat_NL, axis=1, keepdims=True)
    enough_N1 = length_N1 > _FLAT * np.sqrt(flat_NL.shape[1])
    standard_NL: Floats = np.divide(flat_NL, length_N1, out=np.zeros_like(flat_NL), where=enough_N1)
    return standard_NL
