"""Sites in reports and in folds: each told apart, and how much they differ."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fastpath.analysis import sites as site_facts
from fastpath.config import parse
from fastpath.ingest.split import write_split
from fastpath.runs import out_of_fold
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.workflows import pack
from fastpath.workflows.evaluate import evaluate_table
from fastpath.workflows.train import folds


def _study(strengths: list[float], num: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, logits, slides and sites; a network tells the classes apart by that strength at each site."""
    rng = np.random.default_rng(5)
    site_N = np.repeat(np.arange(len(strengths)), num)
    labels_N = (rng.random(len(site_N)) < 0.4).astype(np.int8)
    logits_N = rng.normal(size=len(site_N)) + np.array(strengths)[site_N] * labels_N
    slides_N = np.array([f"{site}-{row % 15}" for row, site in enumerate(site_N)], object)
    return labels_N, logits_N, slides_N, np.array([f"site {site}" for site in site_N], object)


def test_a_site_where_a_network_fails_is_first_and_sites_are_said_to_differ() -> None:
    labels_N, logits_N, slides_N, sites_N = _study([2.0, 2.0, 0.4, 2.0, 2.0])
    facts = site_facts.facts(labels_N, logits_N, slides_N, sites_N, seed=0)
    assert facts is not None
    worst = facts["sites"][0]
    of_N = sites_N == "site 2"
    assert worst["site"] == "site 2"
    assert worst["auc"]["value"] == pytest.approx(roc_auc_score(labels_N[of_N], logits_N[of_N]))
    spread = facts["heterogeneity"]
    assert spread["p_value"] < 1e-6
    assert spread["i_squared"]["value"] > 0.9
    assert spread["next_site_auc"]["low"] < worst["auc"]["value"] < spread["next_site_auc"]["high"]
    assert facts["words"][0].startswith("the AUC differs between sites by more than chance")


def test_sites_that_are_alike_are_not_said_to_differ_and_few_are_warned_of() -> None:
    facts = site_facts.facts(*_study([1.5, 1.5, 1.5]), seed=0)
    assert facts is not None
    assert facts["words"][0].startswith("nothing shows that the AUC differs between sites")
    assert facts["words"][1].startswith("3 sites say little")


@pytest.mark.parametrize("sites", [None, np.full(600, "one", object)])
def test_without_two_sites_nothing_is_told(sites: Any) -> None:
    assert site_facts.facts(*_study([1.0])[:3], sites, seed=0) is None


@pytest.mark.dali
def test_folds_that_leave_one_site_out_tell_each_and_so_does_their_evaluation(
    kaggle_folder: Path, tmp_path: Path
) -> None:
    with (kaggle_folder / "groups.csv").open(newline="") as file:
        slides = [(line["id"], line["wsi"]) for line in csv.DictReader(file)]
    names = sorted({slide for _, slide in slides})
    lines = [f"{name},{slide},{'AB'[names.index(slide) % 2]}" for name, slide in slides]
    (tmp_path / "groups.csv").write_text("\n".join(["id,wsi,site", *lines]))
    options = pack.PackOptions(groups=tmp_path / "groups.csv")
    pack.pack_source(kaggle_folder, tmp_path / "store", options, workers=1)
    write_split(open_store(tmp_path / "store"), "site")
    tiny = {
        "data": {"image_size_px": 16, "batch_size": 16},
        "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
        "train": {"epochs": 1},
    }
    trained = folds.train_folds(tmp_path / "store", tmp_path / "folds", parse(tiny), resolve("cpu"), 2)
    kept = json.loads((tmp_path / "folds" / out_of_fold.SUMMARY).read_text())
    assert trained.sites == kept["sites"]
    assert {entry["site"]: entry["auc"]["value"] for entry in kept["sites"]["sites"]} == pytest.approx(
        dict(zip("AB", trained.aucs, strict=True))
    )
    frame = pd.read_parquet(trained.table)
    assert (frame["site"] == frame["fold"].map({0: "A", 1: "B"})).all()
    evaluation = evaluate_table.evaluate_table(tmp_path / "folds", output=tmp_path / "out")
    assert {entry["site"] for entry in evaluation.facts["sites"]["sites"]} == {"A", "B"}
    assert "fold" in {entry["variable"] for entry in evaluation.facts["subgroups"]["groups"]}
