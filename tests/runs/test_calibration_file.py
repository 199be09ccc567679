"""A calibration is used for what it was fitted on alone: these weights, these views, this mean of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastpath.analysis.calibration import IDENTITY, Calibrator
from fastpath.runs import calibration_file

LINE = Calibrator("platt", 0.5, -1.0)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "best.pt"
    path.write_bytes(b"weights")
    return path


@pytest.mark.parametrize(
    ("fitted", "asked", "why"),
    [
        (("d4", "logits"), ("d4", "logits"), ""),
        (("d4", "probabilities"), ("d4", "probabilities"), ""),
        (("none", "probabilities"), ("none", "logits"), ""),  # the mean of one view is that view
        (("d4", "probabilities"), ("d4", "logits"), "fitted with --mean probabilities"),
        (("d4", "logits"), ("d4", "probabilities"), "fitted with --mean logits"),
        (("d4", None), ("d4", "logits"), "does not tell the mean of views"),
        (("d4", "logits"), ("none", "logits"), "fitted with --tta d4"),
    ],
)
def test_views_and_their_mean_are_compared(
    weights: Path, fitted: tuple[str, str | None], asked: tuple[str, str], why: str
) -> None:
    about = {"tta": fitted[0]} | ({} if fitted[1] is None else {"mean": fitted[1]})
    calibration_file.save(weights, "platt", {"platt": LINE}, about)
    found = calibration_file.load(weights, *asked)  # type: ignore[arg-type]
    assert found.calibrator == (IDENTITY if why else LINE)
    assert why in found.missing
    assert bool(found.missing) == bool(why)


def test_what_speaks_against_a_calibration_goes_with_it(weights: Path) -> None:
    calibration_file.save(
        weights, "platt", {"platt": LINE}, {"tta": "none", "mean": "logits", "cautions": ["it was worse"]}
    )
    found = calibration_file.load(weights, "none", "logits")
    assert found.calibrator == LINE
    assert found.notices == ["of the run's calibration, its evaluation says: it was worse"]
