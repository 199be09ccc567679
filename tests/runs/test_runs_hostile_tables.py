"""Calibrations and tables that are not what was written: refused in one line, and hand-made ones are taken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fastpath.analysis.calibration import Calibrator
from fastpath.errors import DataError
from fastpath.runs import calibration_file, mined_table, out_of_fold
from fastpath.store.format import hash_file
from fastpath.system import checked_table, tables

ISOTONIC = Calibrator("isotonic", knots_K=(-1.0, 0.5, 2.0), heights_K=(-2.0, 0.0, 1.0))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "best.pt").write_bytes(b"weights")
    return tmp_path / "best.pt"


def test_a_calibration_survives_the_round_trip_and_a_flipped_digit_does_not(weights: Path) -> None:
    calibration_file.save(weights, "isotonic", {"isotonic": ISOTONIC}, {"tta": "none"})
    assert calibration_file.load(weights, "none", "logits") == calibration_file.Kept(ISOTONIC)
    path = weights.with_name(calibration_file.NAME)
    path.write_text(path.read_text().replace("0.5", "0.7", 1))
    with pytest.raises(DataError, match="the checksum is another"):
        calibration_file.load(weights, "none", "logits")


KNOTS = {"method": "isotonic", "kept": True, "knots": [0.0, 1.0], "heights": [0.0, 1.0]}
LINE = {"method": "platt", "kept": True, "slope": 1.0, "intercept": 0.0}


@pytest.mark.parametrize(
    "wrong",
    [
        *({**KNOTS, "knots": values} for values in ([float("nan")] * 2, [0, float("inf")], [1, 0], [0, 0], [0], [], 3)),
        *({**KNOTS, "heights": values} for values in ([0, float("nan")], [1, 0], ["0", "1"], [True, True], None)),
        *({**LINE, "slope": value} for value in (float("nan"), float("inf"), 0, -1, "1", None, 10**400)),
        *({**LINE, "intercept": value} for value in (float("nan"), float("-inf"), "1", [])),
        *({"method": "temperature", "kept": True, "temperature": value} for value in (0, -1, float("nan"), 10**400)),
        *({**LINE, "method": value} for value in ("magic", 3, None, [], {})),
        *({**LINE, "kept": value} for value in (1, "true", None)),
        [1, 2],
        3,
        None,
        {},
    ],
)
def test_a_calibration_of_wrong_numbers_is_refused_in_one_line(wrong: Any, weights: Path) -> None:
    about = {"weights": hash_file(weights), "tta": "none"}
    values = {**wrong, **about} if isinstance(wrong, dict) else wrong
    weights.with_name(calibration_file.NAME).write_text(json.dumps(values))
    with pytest.raises(DataError, match="is not a calibration") as caught:
        calibration_file.load(weights, "none", "logits")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("none"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text('{"method": ' + "9" * 5000),
    ],
)
def test_a_calibration_that_is_no_text_is_refused_in_one_line(make: Callable[[Path], Any], weights: Path) -> None:
    make(weights.with_name(calibration_file.NAME))
    with pytest.raises(DataError) as caught:
        calibration_file.load(weights, "none", "logits")
    assert len(str(caught.value).splitlines()) == 1


def test_a_calibration_written_by_hand_is_taken(weights: Path) -> None:
    values = {**LINE, "slope": 2.0, "weights": hash_file(weights), "tta": "none"}
    weights.with_name(calibration_file.NAME).write_text(json.dumps(values))
    assert calibration_file.load(weights, "none", "logits").calibrator.slope == 2.0


def predictions(**changes: Any) -> pd.DataFrame:
    columns = {"id": ["a", "b", "c"], "group": ["s", None, "t"], "label": [0, 1, 1]}
    return pd.DataFrame({**columns, "logit": [0.5, -1.0, 2.0], "fold": [0, 1, 1], **changes})


def test_a_table_whose_values_are_others_than_were_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out_of_fold.parquet"
    path.write_bytes(tables.render(predictions(), path))
    assert out_of_fold.read(path)["logit"].tolist() == [0.5, -1.0, 2.0]
    table = pq.read_table(path)
    changed = table.set_column(3, "logit", [[0.5, -1.0, 2.5]])
    pq.write_table(changed, path)  # the metadata, with the checksum, stay
    with pytest.raises(DataError, match="its values have checksum"):
        out_of_fold.read(path)
    predictions(logit=[1.0, 2.0, 3.0]).to_parquet(path)  # another program's
    assert out_of_fold.read(path)["logit"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize(
    "changes",
    [
        {"logit": [0.5, float("nan"), 1.0]},
        {"logit": [0.5, float("inf"), 1.0]},
        {"logit": ["0.5", "x", "1"]},
        {"id": ["a", "a", "c"]},
    ],
)
def test_predictions_that_are_not_finite_or_twice_there_are_refused(
    changes: dict[str, Any], suffix: str, tmp_path: Path
) -> None:
    path, frame = tmp_path / f"table{suffix}", predictions(**changes)
    path.write_bytes(tables.render(frame, path))
    with pytest.raises(DataError) as caught:
        out_of_fold.read(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("read", [out_of_fold.read, mined_table.read])
@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PAR1" + bytes(100) + b"PAR1"),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: None,
    ],
)
def test_a_table_that_is_no_file_of_one_is_refused_in_one_line(
    make: Callable[[Path], Any], name: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_table_that_claims_more_rows_than_there_can_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.parquet").write_bytes(tables.render(predictions(), tmp_path / "t.parquet"))
    monkeypatch.setattr(checked_table, "ROWS_MAX", 2)
    with pytest.raises(DataError, match="it claims 3 rows"):
        out_of_fold.read(tmp_path / "t.parquet")
