"""`fastpath config`: recipes listed, shown and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastpath import config
from fastpath.cli.main import app
from fastpath.errors import ConfigError
from fastpath.workflows import config as workflow


def _invoke(*words: object) -> Result:
    return CliRunner().invoke(app, ["config", *map(str, words)])


def test_every_recipe_and_grid_is_listed_with_a_sentence() -> None:
    done = _invoke("list", "--json")
    listed = json.loads(done.stdout)["recipes"]
    assert {"notebook", "fast_lite0", "demo", "sweeps/weight_decay"} <= set(listed)
    assert all(sentence.endswith(".") for sentence in listed.values())
    assert "fast_lite0" in _invoke("list").stdout


def test_what_is_shown_of_a_recipe_is_its_file_and_can_be_used(tmp_path: Path) -> None:
    shown = _invoke("show", "fast_lite0").stdout
    assert shown == config.recipe("fast_lite0").read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(_invoke("show", "fast_lite0", "--set", "train.epochs=7").stdout)
    assert config.load(mine) == config.load("fast_lite0", ["train.epochs=7"])


def test_of_a_run_what_differs_from_the_defaults_is_shown(tmp_path: Path) -> None:
    settings = config.load("resnet50_head_layer4")
    (tmp_path / "config.json").write_text(json.dumps(settings.to_dict()))
    (tmp_path / "again.toml").write_text(_invoke("show", tmp_path).stdout)
    assert config.load(tmp_path / "again.toml") == settings
    assert len((tmp_path / "again.toml").read_text().splitlines()) < 40


def test_json_shows_every_setting() -> None:
    assert json.loads(_invoke("show", "demo", "--json").stdout) == config.load("demo").to_dict()
    assert json.loads(_invoke("show", "--json").stdout) == config.Config().to_dict()


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [("optim", "optim.lr_head"), ("*.lr_*", "optim.lr_trunk"), ("seed", "seed"), (None, "train.epochs")],
)
def test_keys_are_explained_by_pattern(pattern: str | None, wanted: str) -> None:
    key_by_name = {key["key"]: key for key in workflow.keys(pattern)}
    assert key_by_name[wanted]["meaning"] == config.keys()[wanted]
    assert pattern is None or len(key_by_name) < len(config.keys())


def test_a_wrong_key_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'optim\.lr_head'"):
        workflow.keys("optim.lr_heat")


def test_set_goes_with_show_alone() -> None:
    done = _invoke("list", "--set", "seed=1")
    assert done.exit_code == 2
    assert "--set goes with 'config show'" in done.output
