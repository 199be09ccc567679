"""`fastpath demo` on few patches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastpath import config
from fastpath.cli.main import app
from fastpath.errors import ConfigError, UsageError

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

SMALL = ("--patches", "200", "--set", "train.epochs=1", "--set", "data.image_size_px=16", "-q")


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


def test_it_goes_the_whole_road_and_judges_the_auc(cpu_bfloat16: bool, tmp_path: Path) -> None:
    outcome = _invoke("-o", tmp_path / "demo", *SMALL, "--json")
    report = json.loads(outcome.stdout)
    within = {name: name for name in ("patches", "store", "run", "evaluation")}
    assert json.loads((tmp_path / "demo" / "demo.json").read_text()) == report | within
    assert list(report["seconds"]) == ["draw", "pack", "verify", "train", "evaluate"]
    for place, file in (
        ("patches", "train_labels.csv"),
        ("store", "manifest.json"),
        ("run", "best.pt"),
        ("evaluation", "metrics.json"),
    ):
        assert (Path(report[place]) / file).exists()
    assert report["auc"] == json.loads((tmp_path / "demo" / "evaluation" / "metrics.json").read_text())["auc"]
    assert report["passed"] == (report["auc"] >= 0.9)
    # One epoch on 160 patches learns next to nothing: the failure is told in one line, after the result.
    assert not report["passed"]
    assert str(outcome.exception).startswith("demo: found AUC 0.")
    assert getattr(outcome.exception, "exit_status", None) == 1

    precision = json.loads((tmp_path / "demo" / "run" / "run.json").read_text())["precision"]
    assert precision == "float32" or cpu_bfloat16

    again = _invoke("-o", tmp_path / "demo", *SMALL, "--json")
    assert json.loads(again.stdout)["auc"] == report["auc"]


@pytest.mark.parametrize("mark", [None, "", "{}", "[]", '{"passed": true}'])
def test_other_peoples_files_are_left_alone(tmp_path: Path, mark: str | None) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("keep")
    if mark is not None:
        (tmp_path / "demo.json").write_text(mark)
    outcome = _invoke("-o", tmp_path, *SMALL)
    assert isinstance(outcome.exception, UsageError)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "keep"


def test_its_recipe_ships_and_a_wrong_setting_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    assert config.load(config.recipe("demo")).model.name == "baseline_cnn"
    with pytest.raises(ConfigError, match=r"known are .*demo"):
        config.recipe("dmeo")
    assert isinstance(_invoke("-o", tmp_path / "demo", "--set", "train.epohcs=1").exception, ConfigError)
    assert list(tmp_path.iterdir()) == []


def test_as_shipped_a_network_learns_the_synthetic_labels(tmp_path: Path) -> None:
    outcome = _invoke("-o", tmp_path / "demo", "-q", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["auc"] > 0.9
