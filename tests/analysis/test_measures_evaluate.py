"""Scores judged without a run: the report's numbers, typed, and nothing heavy loaded for them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fastpath
from fastpath.analysis import intervals, measures, metrics
from fastpath.errors import DataError

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 2, 200)
LOGITS = RNG.normal(size=200) + 2 * LABELS
SLIDES = np.array([f"slide {number}" for number in RNG.integers(0, 12, 200)], object)


def test_it_is_what_the_report_says() -> None:
    result = fastpath.evaluate(LABELS.tolist(), LOGITS.tolist(), SLIDES.tolist())
    units = intervals.units_of(SLIDES, 200, LABELS)
    assert dict(result.measures) == measures.with_intervals(LABELS, LOGITS, units, 0)
    assert result.auc == result.measures["auc"]
    assert result.auc.value == pytest.approx(metrics.roc_auc(LABELS, LOGITS))
    assert result.auc.low < result.auc.value < result.auc.high
    assert (result.units, result.num_units, result.num_patches) == ("slide", 12, 200)
    assert fastpath.evaluate(LABELS, LOGITS).units == "patch"
    assert f"AUC  {result.auc.value:.4f}" in str(result)


@pytest.mark.parametrize(
    ("labels", "logits", "groups", "wanted"),
    [
        (LABELS, LOGITS[:-1], None, r"found shapes \(200,\), \(199,\), wanted one value a patch"),
        (LABELS, LOGITS, SLIDES[:3], r"\(3,\), wanted one value a patch"),
        (1, 0.5, None, r"found shapes \(\), \(\)"),
        (LABELS * 2, LOGITS, None, "unknown, wanted 0 or 1"),
        (LABELS * 0, LOGITS, None, "wanted both classes"),
        (LABELS, LOGITS * np.inf, None, "not finite"),
    ],
)
def test_what_cannot_be_judged_is_refused(labels: object, logits: object, groups: object, wanted: str) -> None:
    with pytest.raises(DataError, match=wanted):
        fastpath.evaluate(labels, logits, groups)  # type: ignore[arg-type]


def test_judging_loads_neither_torch_nor_dali_nor_timm() -> None:
    code = (
        "import sys, fastpath; fastpath.evaluate([0, 1] * 20, [0.1, 0.9, 0.4, 0.3] * 10, list('abcdefgh') * 5); "
        "print(sorted({'torch', 'nvidia', 'timm', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
