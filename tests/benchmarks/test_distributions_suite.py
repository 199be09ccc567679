"""Every augmentation parameter is distributed as torchvision's."""

from __future__ import annotations

import pytest

from benchmarks.suites import distributions


def all_alike(draws: int) -> None:
    rows = distributions.compare(draws)
    assert len(rows) == 18
    # Bonferroni: one in a thousand over all parameters.
    assert {name: row for name, row in rows.items() if row["p"] < 1e-3 / len(rows)} == {}


def test_parameters_follow_torchvision_in_a_few_draws() -> None:
    all_alike(3_000)


@pytest.mark.slow
def test_parameters_follow_torchvision_in_a_hundred_thousand_draws_on_both_sides() -> None:
    all_alike(100_000)
