"""Comparisons: of tiny real runs through the command, and of made-up scores where the truth is known."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fastpath.analysis import delong
from fastpath.analysis.metrics import roc_auc
from fastpath.cli import main as entry
from fastpath.config import Config, parse
from fastpath.errors import CheckpointError, UsageError
from fastpath.ingest.split import write_split
from fastpath.runs.trained import open_run
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.compare import compare, comparison
from fastpath.workflows.train import train

pytestmark = pytest.mark.dali

TINY: dict[str, Any] = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "train": {"epochs": 1},
}


def settings(**changes: Any) -> Config:
    return parse({**TINY, **changes})


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="module")
def runs(store: Path) -> list[Path]:
    """Two seeds, the second on a draw of both parts."""
    limited = {**TINY["data"], "limit": 32, "val_limit": 8}
    paths = [store.parent / "runs" / name for name in ("a", "b")]
    for path, config in zip(paths, (settings(), settings(seed=1, data=limited)), strict=True):
        train.train_run(store, path, config, resolve("cpu", num_threads=1))
    return paths


@pytest.mark.e2e
def test_the_command_measures_all_runs_on_the_same_patches(
    store: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for more in ([], ["--json"]):
        arguments = [*map(str, runs), "-o", str(tmp_path / "compared"), "--device", "cpu", *more]
        monkeypatch.setattr(sys, "argv", ["fastpath", "compare", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        assert not ended.value.code
        outputs.append((printed := capsys.readouterr()).out)
    noted, values = printed.err, json.loads(outputs[1])
    assert outputs[0].splitlines()[-1] == f"→ {tmp_path / 'compared' / 'comparison.png'}"
    table = pd.read_parquet(tmp_path / "compared" / "predictions.parquet")
    opened = open_store(store)
    rows_N = read_split(opened).rows(Split.VAL)
    assert table.id.tolist() == list(opened.ids_N[rows_N])  # the whole split, though one run validated on a draw of it
    for run in values["runs"]:
        assert run["auc"] == pytest.approx(roc_auc(table.label, table[run["name"]]))
    (pair,) = values["pairs"]
    exact = delong.paired_test(table.label, table[pair["first"]].to_numpy(), table[pair["second"]].to_numpy())
    assert pair["difference"] == pytest.approx(exact.difference)
    assert pair["verdict"] == "too few slides"  # they are two
    assert [pair[name] for name in ("delong_p", "p_value", "p_corrected", "low", "high")] == [None] * 5
    assert (values["num_groups"], values["decided_by"]) == (0, "nothing")
    assert [run["standard_error"] for run in values["runs"]] == [None, None]
    assert "found patches of 2 slides, wanted at least 5" in noted
    assert (tmp_path / "compared" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert values.pop("output") == str(tmp_path / "compared")
    assert json.loads((tmp_path / "compared" / "comparison.json").read_text()) == values


def test_a_run_of_another_split_is_refused_with_both_sides(store: Path, runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "store"
    shutil.copytree(store, other)
    write_split(open_store(other), "random", seed=5)
    stranger = tmp_path / "stranger"
    train.train_run(other, stranger, settings(), resolve("cpu", num_threads=1))
    fingerprint = open_run(stranger).checkpoint.split_fingerprint
    with pytest.raises(
        CheckpointError, match=rf"stranger.*another split .*: found {fingerprint}, wanted [0-9a-f]{{16}}"
    ):
        compare.compare_runs([runs[0], stranger], resolve("cpu"), output=tmp_path / "compared")
    assert not (tmp_path / "compared").exists()
    twin = tmp_path / "twin"
    shutil.copytree(stranger, twin)
    leaks = compare.compare_runs([stranger, twin], resolve("cpu"), output=tmp_path / "leaky").notices[0]
    assert leaks.startswith("this split leaks: ")
    elsewhere = open_run(runs[0])
    elsewhere = replace(elsewhere, checkpoint=replace(elsewhere.checkpoint, store_fingerprint="feed"))
    with pytest.raises(CheckpointError, match=r"another store .*: found feed, wanted"):
        compare.check_same_split(elsewhere, open_store(store))


def test_a_run_that_trained_on_the_validation_patches_is_refused(store: Path, runs: list[Path], tmp_path: Path) -> None:
    final = tmp_path / "final"
    train.train_run(store, final, settings(train={"epochs": 1, "include_val": True}), resolve("cpu", num_threads=1))
    with pytest.raises(
        CheckpointError, match=r"final.*was trained on the validation patches too \(train.include_val\)"
    ):
        compare.compare_runs([runs[0], final], resolve("cpu"), output=tmp_path / "compared")
    assert not (tmp_path / "compared").exists()


def test_one_run_or_the_same_twice_is_refused(runs: list[Path]) -> None:
    for wrong in (runs[:1], [runs[0], runs[0] / ".." / "a"]):
        with pytest.raises(UsageError, match="wanted two or more, all different"):
            compare.compare_runs(wrong, resolve("cpu"))


def made_up(aucs_noise: list[float], groups_N: np.ndarray | None) -> comparison.CompareResult:
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, 2, 400).astype(np.int8)
    signal_N = labels_N + rng.normal(size=400) * 0.3
    logits_RN = np.stack([signal_N + rng.normal(size=400) * noise for noise in aucs_noise]).astype(np.float32)
    models = [("baseline_cnn", 1) for _ in aucs_noise]
    names = [f"noise {noise}" for noise in aucs_noise]
    return comparison.compare_scores(
        models, names, labels_N, logits_RN, groups_N, store="s", kind="group", output=Path("out")
    )


def test_a_clear_difference_is_called_better_and_a_small_one_not() -> None:
    compared = made_up([0.5, 0.52, 2.0], None)
    assert compared.optimistic  # slides are unknown
    assert "optimistic" in compared.notices[-1]
    assert {run.name for run in compared.runs[:2]} == {"noise 0.5", "noise 0.52"}
    verdicts = {frozenset((pair.first, pair.second)): pair for pair in compared.pairs}
    assert verdicts[frozenset(("noise 0.5", "noise 0.52"))].verdict == "not distinguishable"
    for other in ("noise 0.5", "noise 0.52"):
        pair = verdicts[frozenset((other, "noise 2.0"))]
        assert (pair.first, pair.verdict) == (other, "better")
        assert 0 < pair.low < pair.difference < pair.high
        assert pair.p_corrected >= pair.p_value
        assert pair.delong_p < 0.001


def test_slides_decide_where_there_are_enough() -> None:
    groups_N = np.array([f"slide {at % 10}" for at in range(400)], dtype=object)
    compared = made_up([0.5, 2.0], groups_N)
    assert (compared.num_groups, compared.decided_by) == (10, "paired jackknife of slides")
    assert compared.pairs[0].p_corrected == compared.pairs[0].p_value
    assert not compared.optimistic
    assert not compared.notices
    assert np.isnan(compared.pairs[0].delong_p)  # patches of known slides are not independent


def test_fewer_than_five_slides_give_no_verdict_however_far_scores_are_apart() -> None:
    """Two scorers of equal worth, four slides: by patch the better one was `better, p = 6e-11`."""
    rng = np.random.default_rng(4)
    of_N = np.arange(400) % 4
    labels_N = rng.integers(0, 2, 400).astype(np.int8)
    shift_2U = 2 * rng.normal(size=(2, 4, 2))  # of each scorer, slide and class
    logits_2N = np.stack([labels_N + rng.normal(size=400) + shift_U[of_N, labels_N] for shift_U in shift_2U])
    assert delong.paired_test(labels_N, *logits_2N).p_value < 1e-4
    groups_N = np.array([f"slide {number}" for number in of_N], object)
    models = [("", 0)] * 2
    compared = comparison.compare_scores(
        models, ["a", "b"], labels_N, logits_2N, groups_N, store="s", kind="group", output=Path()
    )
    pair = compared.pairs[0]
    assert (pair.verdict, compared.decided_by) == ("too few slides", "nothing")
    assert np.isnan([pair.low, pair.high, pair.p_value, pair.p_corrected, pair.delong_p]).all()
    assert np.isnan([run.standard_error for run in compared.runs]).all()
    assert "4 slides, wanted at least 5" in compared.notices[0]


def test_a_standard_error_is_of_slides() -> None:
    """Forty copies of ten patches are worth ten."""
    rng = np.random.default_rng(0)
    labels_N, groups_N = np.arange(10) % 2, np.array([f"slide {at}" for at in range(10)], object)
    logits_RN = labels_N + rng.normal(size=(2, 10))
    errors = []
    for copies in (1, 40):
        compared = comparison.compare_scores(
            [("", 0)] * 2,
            ["a", "b"],
            np.repeat(labels_N, copies).astype(np.int8),
            np.repeat(logits_RN, copies, axis=1),
            np.repeat(groups_N, copies),
            store="s",
            kind="group",
            output=Path(),
        )
        errors.append([run.standard_error for run in compared.runs])
    assert errors[0] == pytest.approx(errors[1])


def test_names_are_as_short_as_they_can_be() -> None:
    assert comparison.short_names([Path("/x/a/seed-1"), Path("/x/a/seed-2")]) == ["seed-1", "seed-2"]
    assert comparison.short_names([Path("/x/a/seed-1"), Path("/x/b/seed-1")]) == ["a/seed-1", "b/seed-1"]


def test_what_an_earlier_comparison_left_is_no_run(store: Path, runs: list[Path], tmp_path: Path) -> None:
    """`compare runs/*` twice: the first one's output lies among the runs by default."""
    for path in runs:
        shutil.copytree(path, tmp_path / "runs" / path.name)
    first = compare.compare_runs(sorted((tmp_path / "runs").iterdir()), resolve("cpu"))
    assert first.output == str(tmp_path / "runs" / "comparison")
    again = compare.compare_runs(sorted((tmp_path / "runs").iterdir()), resolve("cpu"))
    assert [run.name for run in again.runs] == [run.name for run in first.runs]
    assert again.notices[0].startswith(f"left out {first.output}, which an earlier 'fastpath compare' wrote")
    assert str(again.pairs) == str(first.pairs)  # as text, where NaN is itself
