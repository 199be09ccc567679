"""Which training patches resemble a mined one, by the features of the network's trunk.

S patches asked for, P in the pool, K similar ones each, D features. Rows are those of a `Catalogue` that begins with
the run's own store.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastpath.analysis.pixels import neighbours
from fastpath.figures.review_page import SimilarPatch
from fastpath.runs.inference import trunk_features
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.workflows.mine.mined_rows import Catalogue

SIMILAR = 5
"""K: as many as fit beside each other."""
POOL_MAX = 8192
"""Training patches among which similar ones are looked for: a random draw, and all that have a patch's very pixels."""


def similar_rows(
    catalogue: Catalogue,
    asked_S: np.ndarray,
    train_rows_N: np.ndarray,
    trained: TrainedRun,
    runtime: Runtime,
    advance: Callable[[int, int], None] | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return of each patch the training rows most like it, int64, and their cosine similarity, float32; likest first.

    A patch is not similar to itself, and what is held out of training is not looked at.

    Args:
        catalogue: The run's store, and others.
        asked_S: int64, rows.
        train_rows_N: int64, rows that the run trains on.
        trained: Whose trunk gives the features.
        runtime: Device and precision.
        advance: Called with patches passed through the trunk and in all.

    Raises:
        DataError: See `inference.trunk_features`.
    """
    if not len(asked_S) or not len(train_rows_N):
        nothing = np.empty(0, np.int64)
        return [nothing] * len(asked_S), [nothing.astype(np.float32)] * len(asked_S)
    pool_P = _pool(catalogue, asked_S, train_rows_N, trained.config.seed)
    rows_N = np.union1d(pool_P, asked_S)
    features_ND = trunk_features(trained, catalogue.patches, rows_N, runtime, advance)
    asked_SD, pool_PD = (features_ND[np.searchsorted(rows_N, each)] for each in (asked_S, pool_P))
    place_SK, similarity_SK = neighbours.nearest(asked_SD, pool_PD, SIMILAR + 1)
    others_SK = pool_P[place_SK] != asked_S[:, None]
    rows = [pool_P[place_K][others_K][:SIMILAR] for place_K, others_K in zip(place_SK, others_SK, strict=True)]
    similarities = [
        similarity_K[others_K][:SIMILAR] for similarity_K, others_K in zip(similarity_SK, others_SK, strict=True)
    ]
    return rows, similarities


def _pool(catalogue: Catalogue, asked_S: np.ndarray, train_rows_N: np.ndarray, seed: int) -> np.ndarray:
    """Return training rows to compare with, ascending: a draw, and whatever has the pixels of a patch asked for."""
    drawn_N = train_rows_N
    if len(train_rows_N) > POOL_MAX:
        drawn_N = np.random.Generator(np.random.Philox(seed)).choice(train_rows_N, POOL_MAX, replace=False)
    hashes_N = catalogue.hashes_N
    asked = set(hashes_N[asked_S])
    same_N = np.fromiter((each in asked for each in hashes_N[train_rows_N]), bool, len(train_rows_N))
    return np.union1d(drawn_N, train_rows_N[same_N])


def about(catalogue: Catalogue, row: int, rows_K: np.ndarray, similarity_K: np.ndarray) -> list[SimilarPatch]:
    """Return what is to be said of the patches that resemble one."""
    slides_N, hashes_N = catalogue.groups_N, catalogue.hashes_N
    return [
        SimilarPatch(
            id=str(catalogue.ids_N[other]),
            label=int(catalogue.patches.labels_N[other]),
            similarity=float(similarity),
            same_slide=None if slides_N[row] is None else bool(slides_N[row] == slides_N[other]),
            same_pixels=bool(hashes_N[row] == hashes_N[other]),
        )
        for other, similarity in zip(rows_K, similarity_K, strict=True)
    ]
