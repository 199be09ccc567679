"""Tables of patches are read back as they were written, whatever ids are called."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from fastpath.runs import mined_table, out_of_fold
from fastpath.system import tables
from fastpath.workflows.slide import slide_table

IDS = ["=1+1", "+a", "-2+3", "@x", "\t=a", "\r=a", "'=a", "'a", "007", "1e5", "NA", "nan", "null", "a,b", 'q"q', "True"]


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_a_mined_table_is_read_back(suffix: str, tmp_path: Path) -> None:
    count = len(IDS)
    columns = dict.fromkeys(("store", "store_fingerprint", "split_fingerprint"), IDS) | {
        "id": IDS,
        "kind": ["hard_negative"] * count,
        "label": [0] * count,
        "probability": [0.125] * count,
        "loss": [-0.5] * count,
        "weight": [2.0] * count,
    }
    path = tmp_path / f"mined{suffix}"
    mined_table.write(path, mined_table.frame_of(columns))
    read = mined_table.read(path).frame
    for name in ("id", "store", "store_fingerprint"):
        assert read[name].tolist() == IDS
    assert read["loss"].tolist() == [-0.5] * count
    if suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
        assert not [row["id"] for row in rows if row["id"][0] in "=@\t\r" or row["id"] in ("+a", "-2+3")]
        assert rows[0]["loss"] == "-0.5"  # a number, and no formula


def test_predictions_in_a_csv_have_the_ids_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    frame = pd.DataFrame({"id": IDS, "group": IDS[::-1], "label": [0, 1] * (len(IDS) // 2), "logit": -1.5})
    path.write_bytes(tables.render(frame.assign(probability=0.25), path))
    read = out_of_fold.read(path)
    assert read["id"].tolist() == IDS
    assert read["group"].tolist() == IDS[::-1]
    assert read["logit"].tolist() == [-1.5] * len(IDS)
    aggregated = slide_table.aggregate_table(path, tmp_path / "slides")
    assert aggregated.num_slides == len(IDS)
    written = tables.parse((tmp_path / "slides" / "slides.csv").read_bytes(), tmp_path / "slides.csv")
    assert sorted(written["slide"]) == sorted(IDS)


def test_an_empty_cell_is_a_missing_value(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,group,logit\na,s,1\nb,,2\n", encoding="utf-8")
    assert out_of_fold.read(path)["group"].isna().tolist() == [False, True]
