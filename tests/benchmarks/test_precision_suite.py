"""The suite that holds `--amp` against the faster precision, on a network of a few pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import harness
from benchmarks.suites import precision


@pytest.mark.parametrize(("has_bfloat16", "gain", "chosen"), [(False, 2.0, "float32"), (True, 0.5, "float32")])
def test_the_suite_runs_and_tells_what_amp_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, gain: float, chosen: str
) -> None:
    monkeypatch.setenv("FASTPATH_CACHE_DIR", str(tmp_path))  # what the suite sets is undone with it
    monkeypatch.setattr("fastpath.runtime.cpu_has_bfloat16", lambda: has_bfloat16)
    monkeypatch.setattr("fastpath.runs.precision.gain", lambda _plain, _mixed: gain)
    monkeypatch.setattr(harness, "RECORDS", tmp_path / "records")
    arguments = ["--rounds", "1", "--batch-size", "4", "--sizes", "16", "--names", "baseline_cnn"]
    done = CliRunner().invoke(precision.main, arguments, catch_exceptions=False)
    assert f"| {chosen} |" in done.output
    assert ("not timed" in done.output) == (not has_bfloat16)
    (record,) = (tmp_path / "records").glob("*.json")
    figures = json.loads(record.read_text())["results"]["baseline CNN, 16 px"]
    assert set(figures) == {"--amp", "float32"} | ({"bfloat16"} if has_bfloat16 else set())


def test_amp_is_held_against_the_faster_of_the_others() -> None:
    figures = {"--amp": [9.0, 10.0, 11.0], "float32": [10.0, 10.0, 10.0], "bfloat16": [20.0, 20.0, 5.0]}
    assert precision.share_of_faster(figures) == pytest.approx(0.5)
    assert "short of it" in precision.row("a", figures, "float32")
    assert "short of it" not in precision.row("a", figures | {"bfloat16": [1.0]}, "float32")
