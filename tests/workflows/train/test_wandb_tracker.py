"""Runs in W&B, offline: what `wandb sync` would send is read back from the run's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastpath.config import parse
from fastpath.errors import FastpathError, UsageError
from fastpath.workflows.train import wandb_tracker

wandb = pytest.importorskip("wandb", reason="wandb is not installed: pip install 'fastpath[wandb]'")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()


@pytest.mark.usefixtures("offline")
def test_a_run_and_its_resumption_are_one_run_of_wandb(tmp_path: Path) -> None:
    wandb_tracker.Wandb.check()
    run_dir = tmp_path / "first"
    run_dir.mkdir()
    for first, epochs, auc_of_epoch in ((1, 2, {1: 0.6, 2: 0.7}), (2, 3, {2: 0.65, 3: 0.8})):
        tracker = wandb_tracker.Wandb.open(run_dir, parse({"train": {"epochs": epochs}}, "test"), first)
        for epoch, auc in auc_of_epoch.items():
            tracker.tell(epoch, {"val_auc": auc, "images_per_s": 9.0})
        tracker.close(failed=first == 1)
    note = json.loads((run_dir / "wandb.json").read_text())
    parts = [records(path) for path in sorted((run_dir / "wandb").glob("offline-run-*/*.wandb"))]
    assert len(parts) == 2
    for part, settings, points, code in zip(
        parts, ("2", "3"), ([(1, 0.6), (2, 0.7)], [(2, 0.65), (3, 0.8)]), (1, 0), strict=True
    ):
        (run,) = [record.run for record in part if record.WhichOneof("record_type") == "run"]
        assert (run.run_id, run.display_name, run.project) == (note["run_id"], "first", "fastpath")
        assert {item.key: item.value_json for item in run.config.update}["train.epochs"] == settings
        rows = [values(record.history) for record in part if record.WhichOneof("record_type") == "history"]
        assert [(row["epoch"], row["val/auc"]) for row in rows] == points
        assert all(row["speed/images_per_s"] == 9 for row in rows)
        (left,) = [record.exit for record in part if record.WhichOneof("record_type") == "exit"]
        assert left.exit_code == code


def test_without_a_key_or_a_server_it_is_one_line_before_a_run_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()  # what another test has set up reads no environment again
    monkeypatch.setattr(wandb, "login", lambda: False)
    with pytest.raises(UsageError, match=r"--wandb: W&B knows no key of yours; run 'wandb login', or set WANDB_MODE"):
        wandb_tracker.Wandb.check()

    def refuse() -> bool:
        raise wandb.errors.AuthenticationError("the key is not\nvalid")

    monkeypatch.setattr(wandb, "login", refuse)
    with pytest.raises(FastpathError, match=r"--wandb: .*\(the key is not valid\); run 'wandb login'"):
        wandb_tracker.Wandb.check()


def values(history: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history.item}


def records(path: Path) -> list[Any]:
    """Read W&B's file: blocks of 32 KiB of records as LevelDB's log has them, after seven bytes that name the format.

    See https://github.com/google/leveldb/blob/main/doc/log_format.md: a checksum of four bytes, two of length, one of
    kind (1 whole, 2 first, 3 middle, 4 last part); what is left of a block under seven bytes is empty.
    """
    from wandb.proto import wandb_internal_pb2

    content, at, whole, parsed_records = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            parsed_records.append(record)
            whole = b""
    return parsed_records
