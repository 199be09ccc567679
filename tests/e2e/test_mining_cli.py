"""Folds, mining, auditing and the leak meter as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fastpath.cli.main import app
from fastpath.errors import DataError, StoreError, UsageError
from fastpath.ingest.split import write_split
from fastpath.shards.reader import open_store
from fastpath.workflows import pack

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

TINY = """
[data]
image_size_px = 16
batch_size = 16
sampling = "natural"
[model]
name = "baseline_cnn"
pretrained = false
trainable = "all"
[train]
epochs = 1
"""


def fastpath(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mining") / "store"
    pack.run(kaggle_folder, path, workers=1)
    write_split(open_store(path), "group", folds=2)
    (path.parent / "tiny.toml").write_text(TINY)
    return path


def test_the_way_from_folds_to_training_again(store: Path, tmp_path: Path) -> None:
    recipe = ("--config", store.parent / "tiny.toml", "-q")
    done = fastpath("train", store, "-o", tmp_path / "folds", "--folds", "2", *recipe, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["status"], told["num_folds"], len(told["aucs"])) == ("finished", 2, 2)

    done = fastpath("mine", tmp_path / "folds", "-o", tmp_path / "mined.parquet", "--hard", "0.2", "-q")
    assert done.exit_code == 0, done.output
    assert "hard negatives" in done.stdout
    assert "out of fold" in done.stdout
    assert len(pd.read_parquet(tmp_path / "mined.parquet")) >= 8

    extra = ("--set", f"data.extra={tmp_path / 'mined.parquet'}")
    done = fastpath("train", store, "-o", tmp_path / "again", *recipe, *extra)
    assert done.exit_code == 0, done.output

    done = fastpath("audit", store, "-o", tmp_path / "audit", "-q", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["num_val"] == len(pd.read_csv(tmp_path / "audit" / "neighbours.csv"))

    again = fastpath("train", store, "-o", tmp_path / "other", "--folds", "3", *recipe)
    assert isinstance(again.exception, StoreError)
    assert "found 2 folds, wanted 3" in str(again.exception)


def test_the_leak_meter_says_what_it_wants(store: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    done = fastpath("compare", "--splits", "random,group", store, "-q")
    assert isinstance(done.exception, UsageError)
    assert "wanted one store and -o" in str(done.exception)
    done = fastpath("compare", "--splits", "random,csv", store, "-o", tmp_path / "leak")
    assert isinstance(done.exception, UsageError)
    assert "wanted random,group" in str(done.exception)
    pack.run(kaggle_folder / "test", tmp_path / "bare", workers=1)
    done = fastpath("compare", "--splits", "random,group", tmp_path / "bare", "-o", tmp_path / "leak", "-q")
    assert isinstance(done.exception, DataError)
    assert "found no groups" in str(done.exception)
    assert not (tmp_path / "leak").exists()


def test_the_leak_meter_trains_both_sides(store: Path, tmp_path: Path) -> None:
    recipe = ("--config", store.parent / "tiny.toml", "-q", "--json")
    done = fastpath("compare", "--splits", "random,group", store, "-o", tmp_path / "leak", *recipe)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["difference"] == pytest.approx(told["random_auc"] - told["group_auc"])
    assert {path.name for path in (tmp_path / "leak").iterdir()} == {"random", "group", "leak.json"}
