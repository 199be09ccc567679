"""`fastpath bench` as a user meets it: a table with a verdict, one JSON object, a bar chart."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fastpath.cli import main as entry
from fastpath.workflows import pack
from fastpath.workflows.bench import roofline

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

SMALL = ["model.name=baseline_cnn", "model.pretrained=false", "model.trainable=all"]
SMALL += ["data.image_size_px=32", "data.batch_size=8"]
OPTIONS = [word for setting in SMALL for word in ("--set", setting)]
OPTIONS += ["--batches", "2", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench_cli") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fastpath", "bench", *map(str, arguments), *OPTIONS])
    monkeypatch.setattr(roofline, "peak_flop_per_s", lambda _runtime: 1e12)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_ceiling_measures_all_three_judges_and_draws(
    cpu_bfloat16: bool, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = bench(monkeypatch, capsys, "ceiling", store, "--amp", "--json", "--plot", tmp_path / "rates.png")
    measured = json.loads(out)
    assert status == 0
    for name in ("loader", "model", "train", "gather"):
        assert measured[f"{name}_images_per_s"] > 0
    assert ", float32, " in measured["runtime"] or cpu_bfloat16
    assert 0 <= measured["stall_share"] <= 1
    assert measured["bound_images_per_s"] == pytest.approx(1e3 / measured["step_gflop"])
    assert measured["verdict"].split(":")[0] in {
        "model-bound",
        "nearly model-bound",
        "loader-bound",
        "input/output-bound",
    }
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_loader_shows_a_table_of_what_was_measured(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = bench(monkeypatch, capsys, "loader", store)
    assert status == 0
    assert "loader_images_per_s" in out.replace(" ", "_")
    assert "model_images_per_s" not in out.replace(" ", "_")
    assert "fastpath bench ceiling" in out
