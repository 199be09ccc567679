"""What the pages say of stain normalisation, and of statistics by size, is what the records hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.suites import stain_worth as suite

DOCS = Path(__file__).resolve().parents[2] / "docs"


def record_of(page: str, theme: str) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return the results of the one record of a theme that a page links to."""
    (path,) = set(re.findall(rf"\(([^()\s]*/{theme}_[^()\s]*)\.md\)", page))
    results: dict[str, dict[str, dict[str, list[float]]]] = json.loads((DOCS / f"{path}.json").read_text())["results"]
    return results


def test_the_table_of_worth_is_the_records() -> None:
    page = (DOCS / "augmentation.md").read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-")
    results = record_of(page, "stain-worth")
    for line in suite.table_of(results["auc"], results["gain"]):
        assert line in page


def test_the_difference_by_size_of_statistics_is_the_records() -> None:
    page = (DOCS / "numerics.md").read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-")
    record = record_of(page, "fed-size")
    difference: dict[str, float] = record["difference"]  # type: ignore[assignment]
    sentence = f"{difference['fed - stored']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"
    assert sentence in re.sub(r"\s+", " ", page)


def test_another_laboratory_changes_colour_and_the_same_none() -> None:
    images = np.random.default_rng(0).integers(40, 230, (2, 96, 96, 3), np.uint8)
    assert suite.of_laboratory(images, None) is images
    changes = [change for change in suite.LABORATORIES.values() if change is not None]
    first, other = (suite.of_laboratory(images, change).astype(int) for change in changes)
    assert np.abs(first - images).mean() > 5
    assert np.abs(first - other).mean() > 10


def test_a_gain_is_the_difference_of_the_mean_areas_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(1)
    labels_N = (np.arange(300) % 3 == 0).astype(np.int64)
    weak, strong = (labels_N * size + rng.normal(size=300).astype(np.float32) for size in (0.5, 2.0))
    of = {"neither": weak, "Macenko": strong}
    logits = {way: {name: [values.astype(np.float32)] for name in suite.LABORATORIES} for way, values in of.items()}
    gains = suite.gains(labels_N, logits)
    for name in suite.LABORATORIES:
        assert gains["neither"][name] == [0.0, 0.0, 0.0]
        mean, low, high = gains["Macenko"][name]
        assert 0.05 < low < mean < high < 0.45
        assert mean == pytest.approx(roc_auc_score(labels_N, strong) - roc_auc_score(labels_N, weak))
