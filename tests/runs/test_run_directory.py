"""What a run tells of itself: when, where and by which command it began and went on."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastpath.engine.checkpoint import Provenance
from fastpath.runs import run_directory

ORIGIN = Provenance(
    config={"seed": 1},
    store_fingerprint="s",
    split_fingerprint="p",
    mean_3=(0.5, 0.5, 0.5),
    std_3=(0.1, 0.1, 0.1),
    patch_size_px=96,
    classes=("normal", "tumour"),
    software={"fastpath": "1"},
)


def test_each_session_is_kept_with_its_time_host_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "/usr/lib/python3/fastpath/__main__.py"
    monkeypatch.setattr(sys, "argv", [program, "train", "https://me:secret@host/store", "-o", "a run"])
    run_directory.begin(tmp_path, ORIGIN, {})
    run_directory.finish(tmp_path, {"status": "interrupted"})
    monkeypatch.setattr(sys, "argv", ["/usr/bin/fastpath", "train", "--resume"])
    run_directory.begin(tmp_path, ORIGIN, {})
    first, second = json.loads((tmp_path / "run.json").read_text())["sessions"]
    assert first["command"].startswith("fastpath train ")
    assert first["command"].endswith("-o 'a run'")
    assert "secret" not in first["command"]
    assert second["command"] == "fastpath train --resume"
    assert first["host"] == platform.node()
    times = [datetime.fromisoformat(text) for text in (first["began"], first["ended"], second["began"])]
    assert times == sorted(times)
    assert datetime.now(UTC) - times[0] < timedelta(hours=1)
    assert "ended" not in second


@pytest.mark.parametrize("content", ["{", "[]", '{"sessions": 3}', '{"sessions": [1, {"began": "x"}]}'])
def test_a_record_that_is_damaged_is_no_obstacle(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    run_directory.begin(tmp_path, ORIGIN, {})
    assert json.loads((tmp_path / "run.json").read_text())["sessions"][-1]["host"] == platform.node()
