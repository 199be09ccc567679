"""The doors that need a command behind them: the same files, logits and probabilities as the commands give."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastpath
from fastpath.analysis import metrics
from fastpath.config import parse
from fastpath.errors import DataError, UsageError
from fastpath.ingest.stain import macenko
from fastpath.workflows.evaluate import evaluate

pytestmark = pytest.mark.dali

ROOT = Path(__file__).resolve().parent.parent
TINY = parse(
    {
        "data": {"image_size_px": 32, "batch_size": 16, "sampling": "natural"},
        "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
        "train": {"epochs": 1},
    }
)


@pytest.fixture(scope="module")
def run(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> fastpath.Run:
    folder = tmp_path_factory.mktemp("library")
    store = fastpath.pack(str(kaggle_folder), str(folder / "store"))
    return fastpath.train(store, str(folder / "run"), TINY, device="cpu")


def test_what_is_written_is_what_the_commands_write(run: fastpath.Run) -> None:
    facts = json.loads((run.trained.path.parent / "run.json").read_text())
    assert facts["status"] == "finished"
    assert run.config == TINY
    assert fastpath.open_run(str(run.trained.path)).config == TINY


def test_a_run_of_the_library_leaves_its_log_and_no_handler(run: fastpath.Run) -> None:
    log = (run.trained.path.parent / "run.log").read_text(encoding="utf-8")
    assert log.count(" val AUC ") == 1
    assert log.count("parameters trained") == 1
    assert not logging.getLogger("fastpath").handlers
    assert logging.getLogger("fastpath").level == logging.NOTSET


def test_scores_are_those_of_evaluate(run: fastpath.Run) -> None:
    val = run.open_store().split("val")
    logits_N = run.score(val, device="cpu")
    runtime = fastpath.resolve_runtime("cpu")
    evaluated = evaluate.evaluate_run(run.trained.path.parent, runtime)
    assert evaluated.auc == pytest.approx(metrics.roc_auc(val.labels_N, logits_N))
    assert fastpath.evaluate(val.labels_N, logits_N, val.groups_N).auc.value == pytest.approx(evaluated.auc)
    images_NHWC = val.patches.gather(val.rows_N)
    wanted_N = metrics.probabilities(run.calibration.apply(logits_N))
    np.testing.assert_allclose(run.predict(images_NHWC, device="cpu"), wanted_N, atol=1e-5)


def test_images_are_normalised_as_the_patches_of_the_run_were(run: fastpath.Run) -> None:
    store = run.open_store()
    images_NHWC = store.gather(store.split("val").rows_N[:6])
    checkpoint = replace(run.trained.checkpoint, stain="macenko")
    stained = fastpath.Run(replace(run.trained, checkpoint=checkpoint))
    wanted_N = run.predict(np.stack([macenko(image) for image in images_NHWC]), device="cpu")
    assert not np.allclose(wanted_N, run.predict(images_NHWC, device="cpu"), atol=1e-6)
    np.testing.assert_allclose(stained.predict(images_NHWC, device="cpu"), wanted_N, atol=1e-6)


def test_eight_views_do_not_know_which_way_a_patch_lies(run: fastpath.Run) -> None:
    val = run.open_store().split("val")
    images_NHWC = val.patches.gather(val.rows_N)
    network = run.network()
    assert not network.training
    plain_N, mean_N = (run.score(val, tta=tta, device="cpu") for tta in ("none", "d4"))
    assert plain_N.shape == mean_N.shape == (len(images_NHWC),)
    assert not np.allclose(plain_N, mean_N)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 96, 96, 3), np.float32), np.zeros((96, 96, 3), np.uint8), np.zeros((2, 96, 90, 3), np.uint8)],
)
def test_other_than_square_images_of_bytes_is_refused(run: fastpath.Run, images: np.ndarray) -> None:
    with pytest.raises(DataError, match="wanted uint8"):
        run.predict(images, device="cpu")


def test_images_of_another_size_are_refused(run: fastpath.Run) -> None:
    with pytest.raises(DataError, match="48 px"):
        run.predict(np.zeros((2, 48, 48, 3), np.uint8), device="cpu")


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wanted the directory of a run"):
        fastpath.open_run(str(tmp_path))


def example(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_a_loop(run: fastpath.Run) -> None:
    lines = example("own_loop.py", run.open_store().path, 1).splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1"]


def test_the_example_of_a_table(run: fastpath.Run, tmp_path: Path) -> None:
    evaluate.evaluate_run(run.trained.path.parent, fastpath.resolve_runtime("cpu"), output=tmp_path / "out")
    assert "AUC" in example("evaluate_table.py", tmp_path / "out" / "predictions.parquet")


def test_the_example_of_patches_in_memory(tmp_path: Path) -> None:
    lines = example("own_patches.py", tmp_path / "all").splitlines()
    assert [line.split()[1] for line in lines if line.endswith(("tumour", "normal"))] == [
        *("normal", "tumour", "tumour", "tumour", "normal", "normal", "tumour", "tumour")
    ]


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="lightning is not installed")
def test_the_example_of_lightning(run: fastpath.Run) -> None:
    example("lightning_loop.py", run.open_store().path)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells, one after the other, without Jupyter."""
    import matplotlib as mpl

    notebook = json.loads((ROOT / "examples" / "first_steps.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum(bool(cell.get("outputs")) for cell in notebook["cells"]) >= len(cells) - 1  # it was run
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    values: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, "first_steps.ipynb", "exec"), values)
    assert "AUC" in str(fastpath.evaluate(values["val"].labels_N, values["logits"]))  # type: ignore[attr-defined]
    assert (tmp_path / "first-steps" / "run" / "best.pt").is_file()
