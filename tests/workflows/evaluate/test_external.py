"""A run on another store than its own: nothing is fitted, and what differs from home is told."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.special import expit
from sklearn.metrics import recall_score, roc_auc_score

from fastpath.analysis import calibration
from fastpath.cli.main import app
from fastpath.errors import DataError, StoreError, UsageError
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.runs import calibration_file
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.evaluate import evaluate
from fastpath.workflows.evaluate.report_facts import EvaluateOptions
from fastpath.workflows.evaluate.report_files import EvaluateResult

pytestmark = pytest.mark.dali

NUM, SLIDES, UNLABELLED = 240, 8, 10


def _elsewhere(root: Path) -> Path:
    """Pack darker patches of another hospital's slides, of two scanners and two sites, ten of them unlabelled."""
    write_kaggle_folder(root / "drawn", num_train=NUM, num_test=0, num_slides=SLIDES, seed=91)
    with (root / "drawn" / "train_labels.csv").open(newline="") as file:
        labels = {line["id"]: line["label"] for line in csv.DictReader(file)}
    with (root / "drawn" / "groups.csv").open(newline="") as file:
        slides = {line["id"]: line["wsi"] for line in csv.DictReader(file)}
    names = sorted(set(slides.values()))
    (root / "darker").mkdir()
    rows, scanners = ["path,id,label,wsi,site"], ["id,scanner"]
    for number, (name, label) in enumerate(labels.items()):
        with Image.open(root / "drawn" / "train" / f"{name}.tif") as image:
            pixels = np.asarray(image.convert("RGB")) * 0.8
        Image.fromarray(pixels.astype(np.uint8)).save(root / "darker" / f"{number}.png")
        slide = names.index(slides[name])
        label = "" if number < UNLABELLED else label
        rows.append(f"darker/{number}.png,patch-{number},{label},slide-{slide},{'north' if slide < 4 else 'south'}")
        scanners.append(f"patch-{number},{'old' if slide % 2 else 'new'}")
    (root / "patches.csv").write_text("\n".join(rows))
    (root / "scanners.csv").write_text("\n".join(scanners))
    pack.pack_source(root / "patches.csv", root / "other", workers=1)
    return root / "other"


@pytest.fixture(scope="module")
def place(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the calibration of its own validation split, and beside it another store."""
    root = tmp_path_factory.mktemp("external")
    shutil.copytree(learned, root / "run")
    evaluate.evaluate_run(root / "run", resolve("cpu"))
    shutil.copy(root / "run" / calibration_file.NAME, root / "as-kept.json")
    _elsewhere(root)
    return root


@pytest.fixture(scope="module")
def evaluation(place: Path) -> EvaluateResult:
    by = (str(place / "scanners.csv"), "flags")
    return evaluate.evaluate_run(
        place / "run", resolve("cpu"), store_path=place / "other", options=EvaluateOptions(by=by)
    )


@pytest.fixture(scope="module")
def table(evaluation: EvaluateResult) -> pd.DataFrame:
    return pd.read_parquet(Path(evaluation.output) / "predictions.parquet")


def test_every_labelled_patch_is_judged_and_none_calibrates(evaluation: EvaluateResult, table: pd.DataFrame) -> None:
    assert len(table) == evaluation.num_patches == NUM - UNLABELLED
    assert set(table["part"]) == {"other store"}
    assert evaluation.facts["parts"]["calibration"]["num_patches"] == 0
    assert evaluation.facts["parts"]["held"]["num_patches"] == NUM - UNLABELLED
    assert evaluation.auc == pytest.approx(roc_auc_score(table["label"], table["logit"]))
    assert any("10 of 240 patches have no label and are left out" in notice for notice in evaluation.notices)
    assert evaluation.output.endswith("external-other")


def test_calibration_and_thresholds_are_the_runs_own_as_they_are(
    place: Path, evaluation: EvaluateResult, table: pd.DataFrame
) -> None:
    kept = json.loads((place / "run" / calibration_file.NAME).read_text())
    own = calibration.from_dict(kept)
    assert table["calibrated"].to_numpy() == pytest.approx(expit(own.apply(table["logit"].to_numpy())))
    at_home = {point["name"]: point for point in kept["judged"]["operating_points"]}
    assert [point["name"] for point in evaluation.facts["operating_points"]] == list(at_home)
    for point, outcome in zip(
        evaluation.facts["operating_points"], evaluation.facts["external"]["outcomes"], strict=True
    ):
        assert point["logit"] == at_home[point["name"]]["logit"]
        called_N = own.apply(table["logit"].to_numpy()) >= point["logit"]
        assert point["sensitivity"]["value"] == pytest.approx(recall_score(table["label"], called_N))
        assert outcome["sensitivity_before"] == at_home[point["name"]]["sensitivity"]


def test_another_store_never_changes_what_the_run_keeps(place: Path, evaluation: EvaluateResult) -> None:
    assert evaluation.num_patches
    assert (place / "run" / calibration_file.NAME).read_bytes() == (place / "as-kept.json").read_bytes()


def test_observed_over_expected_is_told_before_and_after(evaluation: EvaluateResult, table: pd.DataFrame) -> None:
    methods = evaluation.facts["calibration"]["methods"]
    assert set(methods) == {"none", evaluation.facts["calibration"]["method"]}
    for name, column in (("none", "probability"), (evaluation.facts["calibration"]["method"], "calibrated")):
        intervals = methods[name]["intervals"]
        ratio = intervals["observed_over_expected"]
        assert ratio["value"] == pytest.approx(table["label"].sum() / table[column].sum())
        assert ratio["low"] < ratio["value"] < ratio["high"]
        assert (intervals["calibration_intercept"]["value"] > 0) == (ratio["value"] > 1)


def test_darker_patches_are_called_darker(evaluation: EvaluateResult) -> None:
    (brightness,) = [shift for shift in evaluation.facts["external"]["drift"] if shift["name"] == "brightness"]
    assert brightness["mean"] / brightness["training_mean"] == pytest.approx(0.8, abs=0.05)
    assert brightness["difference"]["high"] < 0
    assert any("darker than the training set" in sentence for sentence in evaluation.facts["external"]["words"])


def test_subgroups_are_of_looks_of_a_table_and_of_sites(evaluation: EvaluateResult, table: pd.DataFrame) -> None:
    groups = evaluation.facts["subgroups"]["groups"]
    assert {"brightness", "haematoxylin", "eosin", "sharpness", "scanner", "site"} <= {
        subgroup["variable"] for subgroup in groups
    }
    for subgroup in groups:
        if subgroup["variable"] == "site":
            of_N = (table["group"].str[6:].astype(int) < 4) == (subgroup["value"] == "north")
            assert subgroup["num_patches"] == of_N.sum()
            assert subgroup["auc"]["value"] == pytest.approx(roc_auc_score(table["label"][of_N], table["logit"][of_N]))
    known = [subgroup["auc"]["value"] for subgroup in groups if subgroup["auc"]["value"] is not None]
    assert known == sorted(known)
    assert {site["site"] for site in evaluation.facts["sites"]["sites"]} == {"north", "south"}
    assert evaluation.facts["sites"]["heterogeneity"]["num_sites"] == 2


def test_the_page_tells_it(evaluation: EvaluateResult) -> None:
    page = (Path(evaluation.output) / "report.html").read_text(encoding="utf-8")
    for text in ("external validation on the store other", "Elsewhere and at home", "Subgroups", "<h2>Sites</h2>"):
        assert text in page
    assert "calibration half" not in page


def test_patches_that_were_trained_on_are_noticed(place: Path, learned: Path, tmp_path: Path) -> None:
    own, other = open_store(learned.parent / "store"), open_store(place / "other")
    rows_M = read_split(own).rows(Split.TRAIN)[:40]
    images = [*own.gather(rows_M), *other.gather(np.arange(UNLABELLED, 90))]
    labels = [*own.labels_N[rows_M], *other.labels_N[UNLABELLED:90]]
    rows = ["path,label,wsi"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{label},w{number % 9}")
    (tmp_path / "patches.csv").write_text("\n".join(rows))
    pack.pack_source(tmp_path / "patches.csv", tmp_path / "mixed", workers=1)
    evaluation = evaluate.evaluate_run(
        place / "run", resolve("cpu"), store_path=tmp_path / "mixed", output=tmp_path / "out"
    )
    assert any(notice.startswith("40 of 120 patches have the id or the pixels of") for notice in evaluation.notices)
    assert evaluation.facts["external"]["seen"]["num_seen"] == 40
    frame = pd.read_parquet(tmp_path / "out" / "predictions.parquet").iloc[40:]
    assert evaluation.facts["external"]["seen"]["auc_of_others"] == pytest.approx(
        roc_auc_score(frame["label"], frame["logit"])
    )


def test_a_run_without_a_calibration_is_judged_as_it_is_and_says_so(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run" / calibration_file.NAME).unlink()
    evaluation = evaluate.evaluate_run(tmp_path / "run", resolve("cpu"), store_path=place / "other")
    assert [point["name"] for point in evaluation.facts["operating_points"]] == ["probability 0.5"]
    assert evaluation.facts["calibration"]["method"] == "none"
    assert any("probabilities are not calibrated" in notice for notice in evaluation.notices)


def test_without_the_runs_own_store_that_is_said(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {"store": str(tmp_path / "gone")}))
    evaluation = evaluate.evaluate_run(tmp_path / "run", resolve("cpu"), store_path=place / "other")
    assert evaluation.facts["external"]["drift"] == []
    assert any(
        "how far these patches look from it is not told" in sentence
        for sentence in evaluation.facts["external"]["words"]
    )
    assert any("nothing tells which of these patches were trained on" in notice for notice in evaluation.notices)


@pytest.mark.parametrize(
    ("labels", "split", "kind", "message"),
    [
        (lambda label: "", None, DataError, "found no label among"),
        (lambda label: "1", None, DataError, "wanted at least two of each class"),
        (lambda label: label, Split.TEST, StoreError, "found no split.json"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    place: Path, tmp_path: Path, labels: Callable[[str], str], split: Split | None, kind: Any, message: str
) -> None:
    with (place / "patches.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))[:40]
    rows = [f"{place / line['path']},{line['id']},{labels(line['label'])}" for line in lines]
    (tmp_path / "patches.csv").write_text("\n".join(["path,id,label", *rows]))
    pack.pack_source(tmp_path / "patches.csv", tmp_path / "store", workers=1)
    with pytest.raises(kind, match=message):
        evaluate.evaluate_run(place / "run", resolve("cpu"), store_path=tmp_path / "store", split=split)


@pytest.mark.parametrize(
    ("choices", "option"),
    [(EvaluateOptions(method="none"), "--calibration"), (EvaluateOptions(miss_cost=3.0), "--miss-cost")],
)
def test_what_would_choose_something_elsewhere_is_refused(place: Path, choices: EvaluateOptions, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option}: found .* for another store than the run's own"):
        evaluate.evaluate_run(place / "run", resolve("cpu"), store_path=place / "other", options=choices)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("nothing.csv", "nothing.csv"),
        ("strangers.csv", "names none of the 230 patches"),
        ("colour", "wanted a table or a column of the index: id, label"),
    ],
)
def test_a_column_that_is_not_there_is_named(place: Path, tmp_path: Path, by: str, message: str) -> None:
    (tmp_path / "strangers.csv").write_text("id,scanner\nx,1\n")
    asked = ["--by", str(tmp_path / by) if "." in by else by]
    options = ["--store", str(place / "other"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(app, ["evaluate", str(place / "run"), *options, *asked])
    assert result.exit_code != 0
    assert message in str(result.exception)
