"""What the training benchmarks work out of their raw figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.suites import time_to_auc, train_step


def test_an_epoch_is_its_patches_at_their_rates() -> None:
    train = {train_step.BASE: [10.0], train_step.PARITY: [20.0]}
    seconds = train_step.epochs(train, {train_step.BASE: [100.0], train_step.PARITY: [200.0]})
    assert seconds[train_step.BASE] == [pytest.approx(176_020 / 10 + 44_005 / 100)]
    table = train_step.table_of(seconds, train_step.BASE, "s", lower=True)
    assert f"| {train_step.PARITY} | 9021.0 (9021.0 to 9021.0) | 2.00 (2.00 to 2.00) |" in table


def test_the_fast_recipe_validates_at_its_own_size() -> None:
    val = {train_step.BASE: [100.0], train_step.PARITY: [200.0], train_step.FAST_VALIDATION: [400.0]}
    seconds = train_step.epochs({"fast recipe at 96 px": [50.0], "fast recipe at 128 px": [25.0]}, val)
    assert seconds["fast recipe at 96 px"] == [pytest.approx(176_020 / 50 + 44_005 / 400)]
    assert seconds["fast recipe, mean of its five"] == [pytest.approx(176_020 * (4 / 50 + 1 / 25) / 5 + 44_005 / 400)]


def test_rates_are_compared_within_a_round() -> None:
    table = train_step.table_of({"a": [1.0, 10.0], "b": [2.0, 40.0]}, "a", "patches/s")
    assert "| b | 21.0 (2.0 to 40.0) | 3.00 (2.00 to 4.00) |" in table


def test_the_first_epoch_at_the_auc_counts() -> None:
    epochs = [{"auc": 0.9, "seconds": 1.0}, {"auc": 0.97, "seconds": 2.0}, {"auc": 0.96, "seconds": 3.0}]
    assert time_to_auc.seconds_to(epochs, 0.96) == 2.0
    assert time_to_auc.seconds_to(epochs, 0.99) == math.inf


def test_a_clearly_better_network_has_an_interval_above_0() -> None:
    random = np.random.default_rng(1)
    labels_N = random.integers(0, 2, 400)
    good_SN, poor_SN = (labels_N + random.normal(0, spread, (3, 400)) for spread in (0.5, 2.0))
    difference = time_to_auc.paired_difference(labels_N, good_SN, poor_SN)
    assert 0 < difference["low"] < difference["difference"] < difference["high"]
    assert difference["share_below_0"] == 0
    assert time_to_auc.paired_difference(labels_N, good_SN, good_SN)["difference"] == 0
