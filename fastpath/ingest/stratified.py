"""The random, stratified draw of a validation split: scikit-learn's, without importing scikit-learn."""

from __future__ import annotations

import math

import numpy as np


def stratified_draw(labels_N: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return the rows that scikit-learn's train_test_split holds out, in no order.

    The same draws from the same generator as `train_test_split(rows, test_size=share, stratify=labels_N,
    random_state=seed)`, which a test holds it to; importing scikit-learn takes longer than packing 5,000 patches.

    Args:
        labels_N: Class of each row.
        share: Share of rows to hold out.
        seed: Seed of the generator.

    Raises:
        ValueError: A class has fewer than two rows, or a side would have fewer rows than there are classes.
    """
    generator = np.random.RandomState(seed)
    classes, class_N, counts = np.unique(labels_N, return_inverse=True, return_counts=True)
    num_held = math.ceil(share * len(labels_N))
    num_kept = len(labels_N) - num_held
    if counts.min() < 2 or min(num_held, num_kept) < len(classes):
        raise ValueError(f"{num_kept} and {num_held} rows of classes with {', '.join(map(str, counts))} rows")
    kept = _shares(counts, num_kept, generator)
    held = _shares(counts - kept, num_held, generator)
    drawn = []
    for number in range(len(classes)):
        rows = np.flatnonzero(class_N == number)[generator.permutation(counts[number])]
        drawn.append(rows[kept[number] : kept[number] + held[number]])
    return np.concatenate(drawn)


def stratified_parts(labels_N: np.ndarray, test: float, val: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows drawn for test, and those then drawn for validation from what is left; int64, in no order.

    Args:
        labels_N: Class of each row.
        test: Share of all rows; 0 draws none.
        val: Share of all rows.
        seed: Seed of either draw.

    Raises:
        ValueError: As `stratified_draw`.
    """
    test_rows = stratified_draw(labels_N, test, seed) if test else np.empty(0, np.int64)
    rest_M = np.setdiff1d(np.arange(len(labels_N)), test_rows)
    return test_rows, rest_M[stratified_draw(labels_N[rest_M], val / (1 - test), seed)]


def _shares(counts: np.ndarray, num_draws: int, generator: np.random.RandomState) -> np.ndarray:
    """Divide draws among classes in proportion; what rounding leaves goes to the largest remainders, ties by lot."""
    exact = counts / counts.sum() * num_draws
    shares: np.ndarray = np.floor(exact)
    remainders, left = exact - shares, int(num_draws - shares.sum())
    for value in np.unique(remainders)[::-1]:
        if left <= 0:
            break
        tied = np.flatnonzero(remainders == value)
        chosen = generator.choice(tied, size=min(len(tied), left), replace=False)
        shares[chosen] += 1
        left -= len(chosen)
    return shares.astype(np.int64)
