"""What happened in a run, one JSON line an epoch. Holds no clock values, so equal runs write equal bytes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastpath.engine.loop import EpochEvent
from fastpath.system.files import as_failure, write_durably
from fastpath.text import to_csv


def epoch_record(event: EpochEvent) -> dict[str, Any]:
    """Return an epoch's line: its 1-based number, losses, validation AUC, learning rates, whether it is the best."""
    return {
        "epoch": event.epoch,
        "train_loss": event.train_loss,
        "val_loss": event.val_loss,
        "val_auc": event.val_auc,
        **{f"lr_{name}": rate for name, rate in event.learning_rates.items()},
        **event.scaling,
        "improved": event.improved,
    }


def timing_record(event: EpochEvent) -> dict[str, Any]:
    """Return an epoch's speed, for a file beside the journal: seconds, images a second, stall share."""
    timing = event.timing
    return {
        "epoch": event.epoch,
        "num_images": timing.num_images,
        "train_s": round(timing.train_s, 3),
        "wait_s": round(timing.wait_s, 3),
        "val_s": round(timing.val_s, 3),
        "images_per_s": round(timing.images_per_s, 1),
        "stall_share": round(timing.stall_share, 4),
    }


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line and see it onto the disk. A value that is not a number becomes null, as JSON has none.

    Raises:
        FastpathError: It cannot be written; what it has of the line is cut off when the run goes on.
    """
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
    try:
        with path.open("ab") as file:
            file.write(json.dumps(plain, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise as_failure(path, error, remedy="make room on the disk, then go on with --resume") from error


def read(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a journal; a last one that a crash cut short is left out."""
    if not path.exists():
        return []
    *whole, _torn = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in whole]


def truncate(path: Path, num_epochs: int) -> None:
    """Drop what was written after epoch `num_epochs`: the run goes on from a checkpoint of that time."""
    if path.exists():
        kept = [json.dumps(record) for record in read(path) if record["epoch"] <= num_epochs]
        write_durably(path, "".join(f"{line}\n" for line in kept).encode())


def write_history(path: Path, records: list[dict[str, Any]]) -> None:
    """Write a journal's epochs as CSV, for spreadsheets and plots."""
    # A stage may tell more than another: the trunk has a learning rate where it is trained.
    columns = list(dict.fromkeys(key for record in records for key in record)) or ["epoch"]
    write_durably(path, to_csv(columns, ([record.get(name) for name in columns] for record in records)))
