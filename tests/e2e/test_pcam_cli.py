"""PatchCamelyon as docs/patchcamelyon.md says: its files packed, its own division, and its test set judged alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from pcam_writer import SIZES, SLIDES, write_pcam
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from fastpath.cli.main import app
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split

pytestmark = [pytest.mark.e2e, pytest.mark.dali]


def _run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
    """Where the commands of the page wrote, the labels, and what the evaluation of the test set said."""
    root = tmp_path_factory.mktemp("pcam")
    labels = write_pcam(root / "pcam")
    packed = _run("pack", root / "pcam", "-o", root / "store", "--workers", 1)
    assert packed["split"] == "official"
    small = ["--set", "data.image_size_px=32", "--set", "model.name=baseline_cnn", "--set", "model.pretrained=false"]
    small += ["--set", "data.batch_size=32", "--set", "model.trainable=all", "--set", "train.epochs=1"]
    _run("train", root / "store", "-o", root / "run", "--device", "cpu", *small)
    return root, labels, _run("evaluate", root / "run", "--split", "test", "--device", "cpu")


def test_the_division_is_the_official_one(evaluated: tuple[Path, dict[str, np.ndarray], dict[str, Any]]) -> None:
    root, labels, _ = evaluated
    store = open_store(root / "store")
    table = read_split(store)
    for part, split in (("train", Split.TRAIN), ("valid", Split.VAL), ("test", Split.TEST)):
        rows_N = table.rows(split)
        assert store.labels_N[rows_N].tolist() == labels[part].tolist()
        assert store.ids_N[rows_N].tolist() == [f"{part}-{row:06d}" for row in range(SIZES[part])]


def test_what_is_judged_is_the_official_test_set_and_nothing_else(
    evaluated: tuple[Path, dict[str, np.ndarray], dict[str, Any]],
) -> None:
    root, labels, facts = evaluated
    frame = pd.read_parquet(root / "run" / "evaluation-test" / "predictions.parquet")
    frame = frame[frame["id"].str.startswith("test-")]
    assert frame["label"].tolist() == labels["test"].tolist()
    assert (facts["num_patches"], facts["num_slides"]) == (SIZES["test"], SLIDES["test"][1])
    assert facts["split_kind"] == "official"
    assert facts["auc"] == pytest.approx(roc_auc_score(frame["label"], frame["logit"]))
    assert facts["accuracy"] == pytest.approx(accuracy_score(frame["label"], frame["logit"] >= 0))
    assert facts["log_loss"] == pytest.approx(log_loss(frame["label"], frame["probability"]), rel=1e-6)
    assert facts["resampling"]["unit"] == "slide"
