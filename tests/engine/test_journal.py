import csv
import json
import math
from pathlib import Path

from fastpath.engine import journal
from fastpath.engine.loop import EpochEvent, Timing


def event(epoch: int, auc: float = 0.5) -> EpochEvent:
    rates = {"head": 1e-3, "trunk": 1e-5}
    return EpochEvent(epoch, 0.1 + 0.2, 0.7, auc, rates, epoch == 1, Timing(100, 2.0, 0.5, 1.0))


def test_lines_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for epoch in (1, 2):
        journal.append(path, journal.epoch_record(event(epoch)))
    assert journal.read(path) == [journal.epoch_record(event(epoch)) for epoch in (1, 2)]
    assert journal.read(path)[0]["train_loss"] == 0.1 + 0.2
    assert journal.read(tmp_path / "none.jsonl") == []


def test_a_journal_tells_no_time(tmp_path: Path) -> None:
    assert journal.epoch_record(event(1)).keys() == {
        *("epoch", "train_loss", "val_loss", "val_auc", "lr_head", "lr_trunk", "improved")
    }
    timing = journal.timing_record(event(1))
    assert timing == {"epoch": 1, "num_images": 100, "train_s": 2.0, "wait_s": 0.5, "val_s": 1.0} | {
        "images_per_s": 50.0,
        "stall_share": 0.25,
    }


def test_a_value_that_is_no_number_is_null(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal.append(path, journal.epoch_record(event(1, auc=math.nan)))
    assert json.loads(path.read_text())["val_auc"] is None


def test_truncation_restores_the_bytes_of_that_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    contents = [b""]
    for epoch in (1, 2, 3):
        journal.append(path, journal.epoch_record(event(epoch, auc=math.nan if epoch == 2 else 1 / 3)))
        contents.append(path.read_bytes())
    with path.open("ab") as file:
        file.write(b'{"epoch": 4, "tra')  # killed while writing
    for epochs in (3, 2, 0):
        journal.truncate(path, epochs)
        assert path.read_bytes() == contents[epochs]
    journal.truncate(tmp_path / "none.jsonl", 1)


def test_history_is_a_table(tmp_path: Path) -> None:
    journal.write_history(tmp_path / "history.csv", [journal.epoch_record(event(epoch)) for epoch in (1, 2)])
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[0]["train_loss"]) == 0.1 + 0.2
    journal.write_history(tmp_path / "empty.csv", [])
    assert (tmp_path / "empty.csv").read_text() == "epoch\n"
