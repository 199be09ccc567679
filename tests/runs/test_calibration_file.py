"""A calibration is used for what it was fitted on alone: these weights, these views, this mean of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastpath.analysis.calibration import IDENTITY, Calibrator
from fastpath.errors import DataError
from fastpath.runs import calibration_file
from fastpath.types import Split

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
    calibration = calibration_file.load(weights, *asked)  # type: ignore[arg-type]
    assert calibration.calibrator == (IDENTITY if why else LINE)
    assert why in calibration.missing
    assert bool(calibration.missing) == bool(why)


def test_what_speaks_against_a_calibration_goes_with_it(weights: Path) -> None:
    calibration_file.save(
        weights, "platt", {"platt": LINE}, {"tta": "none", "mean": "logits", "cautions": ["it was worse"]}
    )
    calibration = calibration_file.load(weights, "none", "logits")
    assert calibration.calibrator == LINE
    assert calibration.notices == ["of the run's calibration, its evaluation says: it was worse"]


WAYS = [
    ("best", "none", "logits"),
    ("best", "d4", "logits"),
    ("best", "d4", "probabilities"),
    ("last", "none", "logits"),
]


def test_there_is_a_calibration_a_checkpoint_and_a_way_to_score(tmp_path: Path) -> None:
    """None takes another's place, and each is found again whatever else lies beside it."""
    for number, (stem, tta, mean) in enumerate(WAYS):
        (tmp_path / f"{stem}.pt").write_bytes(stem.encode())
        line = Calibrator("platt", 1.0 + number, 0.0)
        assert not calibration_file.save(tmp_path / f"{stem}.pt", "platt", {"platt": line}, {"tta": tta, "mean": mean})
    for number, (stem, tta, mean) in enumerate(WAYS):
        kept = calibration_file.load(tmp_path / f"{stem}.pt", tta, mean)  # type: ignore[arg-type]
        assert (kept.calibrator.slope, kept.missing) == (1.0 + number, "")
    assert {path.name for path in tmp_path.glob("*.json")} == {
        *("calibration.json", "calibration-d4.json", "calibration-d4-probabilities.json", "calibration-last.json")
    }


def test_one_that_an_older_version_kept_under_the_only_name_is_found(weights: Path) -> None:
    calibration_file.save(weights, "platt", {"platt": LINE}, {"tta": "d4", "mean": "logits"})
    weights.with_name("calibration-d4.json").rename(weights.with_name("calibration.json"))
    assert calibration_file.load(weights, "d4", "logits").calibrator == LINE


def test_a_damaged_one_of_another_kind_is_in_nobodys_way(weights: Path) -> None:
    weights.with_name("calibration-d4.json").write_text("{}")
    calibration_file.save(weights, "platt", {"platt": LINE}, {"tta": "none", "mean": "logits"})
    assert calibration_file.load(weights, "none", "logits").calibrator == LINE
    with pytest.raises(DataError, match=r"calibration-d4\.json: is not a calibration"):
        calibration_file.load(weights, "d4", "logits")


def test_replacing_one_is_told_and_writing_the_same_again_is_not(weights: Path) -> None:
    def save(slope: float, part: str) -> str:
        fitted_on = {"split": part, "of": "val", "num_patches": 19}
        about = {"tta": "none", "mean": "logits", "fitted_on": fitted_on}
        return calibration_file.save(weights, "platt", {"platt": Calibrator("platt", slope, 0.0)}, about)

    assert save(1.0, "val") == save(1.0, "val") == ""
    words = save(2.0, "test")
    assert words.startswith("calibration.json held a calibration (platt) fitted on 19 patches of the val split")
    assert "now holds" in words
    weights.write_bytes(b"other weights")  # the one there is of no use to these
    assert save(3.0, "val") == ""


@pytest.mark.parametrize(
    ("fitted_on", "part"),
    [
        ({"split": "val"}, Split.VAL),
        ({"split": "test"}, Split.VAL),  # as older versions told it
        ({"split": "test", "of": "test"}, Split.TEST),
        ({"split": "?"}, None),
        (3, None),
        (None, None),
    ],
)
def test_the_part_it_was_fitted_on_is_told(weights: Path, fitted_on: Any, part: Split | None) -> None:
    about = {"tta": "none", "mean": "logits"} | ({} if fitted_on is None else {"fitted_on": fitted_on})
    calibration_file.save(weights, "platt", {"platt": LINE}, about)
    assert calibration_file.load(weights, "none", "logits").fitted_on == part
    assert calibration_file.load(weights, "d4", "logits").fitted_on is None
