"""Folds, mining, auditing and the leak meter as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score
from tiny_recipe import tiny_recipe

from fastpath.cli.main import app
from fastpath.errors import DataError, StoreError, UsageError
from fastpath.ingest.split import write_split
from fastpath.store.reader import open_store
from fastpath.workflows import pack

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

TINY = tiny_recipe(1, "natural")


def fastpath(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mining") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    write_split(open_store(path), "group", folds=2)
    (path.parent / "tiny.toml").write_text(TINY)
    return path


@pytest.fixture(scope="module")
def folds(store: Path) -> Path:
    path = store.parent / "folds"
    recipe = ("--config", store.parent / "tiny.toml", "--json")
    done = fastpath("train", store, "-o", path, "--folds", "2", *recipe)
    assert done.exit_code == 0, done.output
    trained = json.loads(done.stdout)
    assert (trained["status"], trained["num_folds"], len(trained["aucs"])) == ("finished", 2, 2)
    return path


def test_folds_are_judged_by_slide(store: Path, folds: Path, tmp_path: Path) -> None:
    done = fastpath("evaluate", folds, "--json")
    assert done.exit_code == 0, done.output
    evaluation = json.loads(done.stdout)
    assert evaluation["output"] == str(folds / "evaluation-out_of_fold")
    predicted = pd.read_parquet(folds / "out_of_fold.parquet")
    evaluated = pd.read_parquet(folds / "evaluation-out_of_fold" / "predictions.parquet")
    assert evaluated.id.tolist() == predicted.id.tolist()
    assert evaluation["auc"] == pytest.approx(roc_auc_score(predicted.label, predicted.logit))
    assert (evaluation["num_slides"], evaluation["resampling"]["unit"]) == (6, "slide")
    assert (evaluated.groupby("group").part.nunique() == 1).all()
    assert set(evaluated.part) == {"calibration half", "held half"}
    assert "predictions are of 2 networks" in " ".join(evaluation["notices"])
    assert len(pd.read_csv(folds / "evaluation-out_of_fold" / "gallery.csv")) > 0

    done = fastpath("evaluate", folds / "out_of_fold.parquet", "-o", tmp_path / "table", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["operating_points"] == evaluation["operating_points"]
    done = fastpath("evaluate", folds, "--tta", "d4", "-o", tmp_path / "eight")
    assert isinstance(done.exception, UsageError)
    assert "is scored already" in str(done.exception)
    assert not (tmp_path / "eight").exists()


def test_folds_whose_store_is_gone_are_judged_without_a_gallery(store: Path, folds: Path, tmp_path: Path) -> None:
    shutil.copytree(folds, tmp_path / "folds")
    facts = json.loads((folds / "fold-0" / "run.json").read_text())
    (tmp_path / "folds" / "fold-0" / "run.json").write_text(json.dumps(facts | {"store": str(tmp_path / "gone")}))
    done = fastpath("evaluate", tmp_path / "folds", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        "predictions.parquet",
        "report.html",
        "run.log",
    }


def test_the_way_from_folds_to_training_again(store: Path, folds: Path, tmp_path: Path) -> None:
    recipe = ("--config", store.parent / "tiny.toml")
    done = fastpath("mine", folds, "-o", tmp_path / "mined.parquet", "--hard", "0.2")
    assert done.exit_code == 0, done.output
    assert "hard negatives" in done.stdout
    assert "out of fold" in done.stdout
    assert len(pd.read_parquet(tmp_path / "mined.parquet")) >= 8

    extra = ("--set", f"data.extra={tmp_path / 'mined.parquet'}")
    done = fastpath("train", store, "-o", tmp_path / "again", *recipe, *extra)
    assert done.exit_code == 0, done.output

    done = fastpath("audit", store, "-o", tmp_path / "audit", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["num_val"] == len(pd.read_csv(tmp_path / "audit" / "neighbours.csv"))

    again = fastpath("train", store, "-o", tmp_path / "other", "--folds", "3", *recipe)
    assert isinstance(again.exception, StoreError)
    assert "found 2 folds, wanted 3" in str(again.exception)


def test_the_leak_meter_says_what_it_wants(store: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    done = fastpath("compare", "--splits", "random,group", store)
    assert isinstance(done.exception, UsageError)
    assert "wanted one store and -o" in str(done.exception)
    done = fastpath("compare", "--splits", "random,csv", store, "-o", tmp_path / "leak")
    assert isinstance(done.exception, UsageError)
    assert "wanted random,group" in str(done.exception)
    pack.pack_source(kaggle_folder / "test", tmp_path / "bare", workers=1)
    done = fastpath("compare", "--splits", "random,group", tmp_path / "bare", "-o", tmp_path / "leak")
    assert isinstance(done.exception, DataError)
    assert "found no groups" in str(done.exception)
    assert not (tmp_path / "leak").exists()


def test_the_leak_meter_trains_both_sides(store: Path, tmp_path: Path) -> None:
    recipe = ("--config", store.parent / "tiny.toml", "--json")
    done = fastpath("compare", "--splits", "random,group", store, "-o", tmp_path / "leak", *recipe)
    assert done.exit_code == 0, done.output
    meter = json.loads(done.stdout)
    assert meter["difference"] == pytest.approx(meter["random_auc"] - meter["group_auc"])
    assert {path.name for path in (tmp_path / "leak").iterdir()} == {"random", "group", "leak.json", "run.log"}
