"""The graph is as far from the notebook's own chain as docs/numerics.md says: mean and tail, on real patches."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suites import notebook_chain as suite
from fastpath.runtime import Runtime

DOCS = Path(__file__).resolve().parents[2] / "docs"

# Of 32 patches; about a third above what 256 give.
BOUNDS = {
    f"{suite.GRAPH} to {suite.CHAIN}": {"mean": 6.4, "p95": 20, "p99": 34, "far": 0.02},
    f"{suite.GRAPH} to {suite.SMOOTH}": {"mean": 4.9, "p95": 15, "p99": 28, "far": 0.011},
    f"{suite.GRAPH} to {suite.FLOAT}": {"mean": 4.3, "p95": 15, "p99": 26, "far": 0.008},
}


@pytest.mark.dali
def test_mean_and_tail_are_within_bounds_and_the_chains_rotation_is_the_nearest_pixel(sample_folder: Path) -> None:
    import torch

    distances = suite.to_the_chain(suite.read(sample_folder, 32), Runtime(torch.device("cpu"), num_threads=1))
    for pair, bounds in BOUNDS.items():
        for name, bound in bounds.items():
            assert distances[pair][name] < bound, f"{pair}: {name}"
    nearest, smooth = (distances[f"{suite.GRAPH} to {other}"] for other in (suite.CHAIN, suite.SMOOTH))
    assert nearest["mean"] > smooth["mean"] + 0.7
    rotated = distances[f"{suite.CHAIN} to {suite.SMOOTH}"]
    assert 2.0 < rotated["mean"] < 4.0


def test_distances_are_counted_as_numpy_does() -> None:
    rng, counted = np.random.default_rng(0), suite.Distances()
    values = rng.normal(0, 12, 50_000).astype(np.float32)
    for part in np.split(values, 5):
        counted.add(part)
    measured, absolute = counted.measures(), np.abs(values)
    assert measured["mean"] == pytest.approx(absolute.mean(), rel=1e-4)
    assert measured["signed"] == pytest.approx(values.mean(), abs=1e-4)
    for name, share in (("p95", 95), ("p99", 99), ("p99.9", 99.9)):
        assert measured[name] == pytest.approx(np.percentile(absolute, share), abs=2 * suite.BIN)
    assert measured["far"] == pytest.approx((absolute >= suite.FAR).mean(), abs=1e-4)
    assert measured["values"] == len(values)


def test_the_tables_of_the_page_are_the_records() -> None:
    text = (DOCS / "numerics.md").read_text(encoding="utf-8").replace("**", "").replace("\N{MINUS SIGN}", "-")
    (record,) = set(re.findall(r"\(([^()\s]*/notebook-chain_[^()\s]*)\.md\)", text))
    results = json.loads((DOCS / f"{record}.json").read_text(encoding="utf-8"))["results"]
    for part, first in (("everything", "from, to"), ("colour", "colour alone")):
        for line in suite.table_of(results[part], first):
            assert line in text
