"""The order of an epoch is a pure function; steps and ranks cover it once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath.data import order

labels = st.lists(st.integers(0, 1), min_size=2, max_size=300).filter(lambda values: len(set(values)) == 2)
seeds = st.integers(0, 2**32 - 1)
SAMPLINGS: list[order.Sampling] = ["natural", "weighted", "systematic"]


@given(labels, st.sampled_from(SAMPLINGS), seeds, st.integers(0, 1000))
def test_an_order_is_reproducible_and_as_long_as_the_split(
    values: list[int], sampling: order.Sampling, seed: int, epoch: int
) -> None:
    labels_N = np.array(values)
    order_N = order.epoch_order(labels_N, sampling, seed, epoch)
    assert len(order_N) == len(labels_N)
    assert order_N.min() >= 0
    assert order_N.max() < len(labels_N)
    np.testing.assert_array_equal(order_N, order.epoch_order(labels_N, sampling, seed, epoch))


@given(st.integers(1, 300), seeds, st.integers(0, 1000))
def test_natural_order_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    order_N = order.epoch_order(np.zeros(size, int), "natural", seed, epoch)
    np.testing.assert_array_equal(np.sort(order_N), np.arange(size))


@given(labels, seeds)
def test_systematic_order_draws_each_patch_floor_or_ceiling_of_its_expectation(values: list[int], seed: int) -> None:
    labels_N = np.array(values)
    counts = np.bincount(order.epoch_order(labels_N, "systematic", seed, 0), minlength=len(labels_N))
    expected = len(labels_N) / (2 * np.bincount(labels_N)[labels_N])
    assert (counts >= np.floor(expected) - 1e-9).all()
    assert (counts <= np.ceil(expected) + 1e-9).all()


def test_weighted_and_systematic_sampling_balance_the_classes_and_differ_in_what_they_leave_out() -> None:
    labels_N = (np.random.default_rng(0).random(50_000) < 0.405).astype(int)
    unseen = {}
    for sampling in SAMPLINGS:
        order_N = order.epoch_order(labels_N, sampling, 42, 0)
        unseen[sampling] = 1 - len(np.unique(order_N)) / len(labels_N)
        share = labels_N[order_N].mean()
        assert share == pytest.approx(0.405 if sampling == "natural" else 0.5, abs=0.01)
    assert unseen["natural"] == 0
    assert unseen["weighted"] == pytest.approx(0.375, abs=0.01)
    assert unseen["systematic"] == pytest.approx(0.095, abs=0.01)


@given(labels, st.sampled_from(SAMPLINGS), seeds, st.data())
def test_weights_keep_the_length_and_what_is_reproducible(
    values: list[int], sampling: order.Sampling, seed: int, data: st.DataObject
) -> None:
    labels_N = np.array(values)
    weights_N = np.array(data.draw(st.lists(st.floats(0.01, 9), min_size=len(values), max_size=len(values))))
    order_N = order.epoch_order(labels_N, sampling, seed, 3, weights_N)
    assert len(order_N) == len(labels_N)
    assert order_N.min() >= 0
    np.testing.assert_array_equal(order_N, order.epoch_order(labels_N, sampling, seed, 3, weights_N))
    # Only ratios count, up to rounding; a power of two rounds nothing.
    np.testing.assert_array_equal(order_N, order.epoch_order(labels_N, sampling, seed, 3, weights_N * 4))
    if sampling != "weighted":
        of_class_N = 2 * np.bincount(labels_N, weights_N)[labels_N] if sampling == "systematic" else weights_N.sum()
        expected_N = len(labels_N) * weights_N / of_class_N
        assert (np.abs(np.bincount(order_N, minlength=len(labels_N)) - expected_N) < 1 + 1e-6).all()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_patch_of_twice_the_weight_is_drawn_twice_as_often(sampling: order.Sampling) -> None:
    labels_N = (np.arange(6000) % 3 == 0).astype(int)
    weights_N = np.where(np.arange(6000) % 2, 2.0, 1.0)
    order_N = order.epoch_order(labels_N, sampling, 1, 0, weights_N)
    assert (weights_N[order_N] == 2).mean() == pytest.approx(2 / 3, abs=0.02)
    assert labels_N[order_N].mean() == pytest.approx(1 / 3 if sampling == "natural" else 1 / 2, abs=0.02)


@given(st.integers(1, 300), seeds)
def test_equal_weights_leave_natural_order_a_permutation(size: int, seed: int) -> None:
    order_N = order.epoch_order(np.zeros(size, int), "natural", seed, 0, np.full(size, 0.7))
    assert np.abs(np.bincount(order_N, minlength=size) - 1).max() <= 1  # one may be exchanged for another by rounding
    assert len(order_N) == size


def test_epochs_and_seeds_give_different_orders() -> None:
    labels_N = np.arange(1000) % 2
    orders = [order.epoch_order(labels_N, "natural", seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for first in range(4):
        for second in range(first):
            assert (orders[first] == orders[second]).mean() < 0.05


@given(st.integers(1, 500), st.integers(1, 64), st.sampled_from([1, 2, 3, 4]))
def test_steps_and_ranks_are_disjoint_and_cover_the_epoch_in_order(size: int, batch_size: int, world: int) -> None:
    seen = [
        position
        for step in range(order.num_steps(size, batch_size))
        for rank in range(world)
        for position in order.step_positions(size, batch_size, step, rank, world)
    ]
    assert seen == list(range(size))


@given(seeds, st.integers(0, 50), st.integers(0, 100))
def test_a_stream_can_start_at_any_block(seed: int, epoch: int, block: int) -> None:
    whole = order.generator(seed, order.AUGMENT_STREAM, epoch).random(4 * block + 8)
    np.testing.assert_array_equal(
        order.generator(seed, order.AUGMENT_STREAM, epoch, block).random(8), whole[4 * block :]
    )


def test_a_subset_keeps_the_class_shares() -> None:
    labels_N = (np.arange(1000) % 10 < 4).astype(int)
    chosen = order.stratified_subset(labels_N, 100, seed=1)
    assert len(np.unique(chosen)) == 100
    assert labels_N[chosen].mean() == pytest.approx(0.4)
    assert len(order.stratified_subset(labels_N, 0, seed=1)) == 1000
