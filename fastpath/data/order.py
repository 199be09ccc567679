"""The order of samples, as a pure function of (seed, epoch): nothing here has state.

An epoch is an array of row numbers. A position is an index into it; a step covers `batch_size` consecutive
positions, of which each rank takes a consecutive share. Any step of any epoch can therefore be reproduced, or
resumed from, by number.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sampling = Literal["natural", "weighted", "systematic"]

ORDER_STREAM, AUGMENT_STREAM, EXTRA_STREAM, NOISE_STREAM, MIX_STREAM = range(5)


def generator(seed: int, stream: int, epoch: int, block: int = 0) -> np.random.Generator:
    """Return the counter-based generator of one stream in one epoch.

    Philox-4x64 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is keyed by (seed, stream,
    epoch) and can start at any block of four 64-bit words, so a draw depends on its place and on nothing before it.

    Args:
        seed: The run's seed, below 2**32.
        stream: Which of the streams above.
        epoch: Epoch, from 0.
        block: Number of four-word blocks to skip.
    """
    bits = np.random.Philox(key=np.array([seed | stream << 32, epoch], dtype=np.uint64))
    return np.random.Generator(bits.advance(block))


def epoch_order(
    labels_N: NDArray[np.integer],
    sampling: Sampling,
    seed: int,
    epoch: int,
    weights_N: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return the order of one epoch as positions into `labels_N`; always N of them.

    Args:
        labels_N: int [N], class of each patch; `natural` does not read it.
        sampling: `natural` is a permutation. `weighted` draws with replacement with weight 1 / class count, as
            torch's WeightedRandomSampler does. `systematic` gives every class the same share too, but each
            patch of a class floor(e) or ceil(e) times, where e is its expected count: systematic resampling
            (Kitagawa, 1996, "Monte Carlo filter and smoother", appendix).
        seed: The run's seed.
        epoch: Epoch, from 0.
        weights_N: Above 0; how often each patch is drawn, relative to the others (of its class, where classes get
            the same share). `natural` then resamples systematically, too. None is the same for all.
    """
    rng = generator(seed, ORDER_STREAM, epoch)
    size = len(labels_N)
    if weights_N is not None:
        return _weighted_order(labels_N, sampling, weights_N, rng)
    if sampling == "natural":
        return rng.permutation(size)
    _, class_N, counts = np.unique(labels_N, return_inverse=True, return_counts=True)
    if sampling == "weighted":
        starts = np.cumsum(counts) - counts
        members = np.argsort(class_N, kind="stable")
        drawn = rng.integers(0, len(counts), size)
        return np.asarray(members[starts[drawn] + (rng.random(size) * counts[drawn]).astype(np.int64)])
    return _systematic(size / (len(counts) * counts[class_N]), rng)


def _weighted_order(
    labels_N: NDArray[np.integer], sampling: Sampling, weights_N: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Order an epoch of patches that are not to be drawn equally often."""
    _, class_N = np.unique(labels_N, return_inverse=True)
    totals = np.bincount(class_N, weights_N)
    share_N = weights_N / (weights_N.sum() if sampling == "natural" else len(totals) * totals[class_N])
    size = len(labels_N)
    if sampling != "weighted":
        return _systematic(size * share_N, rng)
    drawn = np.searchsorted(np.cumsum(share_N), rng.random(size), side="right")
    return np.minimum(drawn, size - 1)  # the sum of shares may round to a little below 1


def _systematic(expected_N: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw each position floor(e) or ceil(e) times, e being what is expected of it; as many as all add up to."""
    size = len(expected_N)
    shuffled = rng.permutation(size)
    edges = np.floor(np.concatenate([[0.0], np.cumsum(expected_N[shuffled])]) + rng.random())
    edges[0], edges[-1] = 0, size  # rounding of the sum must not lose or add a sample
    return rng.permutation(np.repeat(shuffled, np.diff(edges).astype(np.int64)))


def num_steps(size: int, batch_size: int) -> int:
    """Return the steps that cover `size` positions; the last may be short."""
    return -(-size // batch_size)


def step_positions(size: int, batch_size: int, step: int, rank: int = 0, world_size: int = 1) -> range:
    """Return the positions that one rank takes in one step.

    Args:
        size: Positions in the epoch.
        batch_size: Positions a step, over all ranks.
        step: Step within the epoch, from 0.
        rank: This process.
        world_size: Processes sharing the step; their shares are consecutive, disjoint and cover it.
    """
    start = step * batch_size
    length = min(batch_size, size - start)
    return range(start + length * rank // world_size, start + length * (rank + 1) // world_size)


def stratified_subset(labels_N: NDArray[np.integer], limit: int, seed: int) -> NDArray[np.int64]:
    """Return `limit` positions with the class shares of `labels_N`, ascending; all of them where limit is 0 or large.

    Args:
        labels_N: int [N], class of each patch.
        limit: Patches wanted.
        seed: Decides which.
    """
    everything = np.arange(len(labels_N), dtype=np.int64)
    if limit == 0 or limit >= len(labels_N):
        return everything
    from sklearn.model_selection import train_test_split  # nearly two seconds to import, and needed for draws only

    chosen, _ = train_test_split(everything, train_size=limit, stratify=labels_N, random_state=seed)
    return np.sort(chosen)
