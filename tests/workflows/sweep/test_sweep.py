"""Sweeps of tiny runs: what they leave, that they go on, and that nothing is trained twice."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastpath.cli import main as entry
from fastpath.engine.loop import StepEvent
from fastpath.errors import ConfigError, FastpathError, UsageError
from fastpath.ingest.split import write_split
from fastpath.model import registry
from fastpath.runs.run_data import open_run_data
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.workflows import pack
from fastpath.workflows.compare import comparison
from fastpath.workflows.sweep import sweep
from fastpath.workflows.sweep.sweep_plan import Plan, make_plan
from fastpath.workflows.train import train

pytestmark = pytest.mark.dali

TINY = (
    *("model.name=baseline_cnn", "model.pretrained=false", "model.trainable=all"),
    *("data.image_size_px=16", "data.batch_size=16", "data.sampling=natural", "train.epochs=1"),
)
ROOT = Path(__file__).resolve().parents[3]
# What the notebook's schedules make of three epochs, as shares of the highest rate: StepLR(3) never fires,
# CosineAnnealingLR(5) stops on its way down, CosineAnnealingLR(3) is a whole half wave.
SHARES = {
    ("step", "scheduler"): (1.0, 1.0, 1.0),
    ("cosine", "scheduler"): tuple((1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(3)),
    ("cosine", "weight_decay"): tuple((1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)),
}
GRID = "optim.lr_head=1e-3,1e-5"


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def plan(repeats: int, grid: str = GRID) -> Plan:
    return make_plan(None, (grid,), overrides=TINY, repeats=repeats)


def swept(store: Path, output: Path, repeats: int = 2, **options: Any) -> sweep.SweepResult:
    return sweep.sweep_settings(store, output, plan(repeats), device="cpu", num_threads=1, **options)


@pytest.fixture(scope="module")
def whole(store: Path) -> tuple[Path, sweep.SweepResult]:
    output = store.parent / "whole"
    return output, swept(store, output)


def best_aucs(output: Path) -> dict[str, float]:
    runs = (output / "runs").glob("*/*/run.json")
    return {f"{path.parts[-3]}/{path.parts[-2]}": json.loads(path.read_text())["best_auc"] for path in runs}


def test_what_a_sweep_leaves_follows_from_its_runs(whole: tuple[Path, sweep.SweepResult]) -> None:
    output, result = whole
    assert (result.status, result.seeds, len(best_aucs(output))) == ("finished", (42, 43), 4)
    for row in result.settings:
        (number,) = (at for at, setting in enumerate(plan(2).settings) if setting.name == row.name)
        slug = plan(2).settings[number].slug
        assert list(row.aucs) == [best_aucs(output)[f"{slug}/seed-{seed}"] for seed in (42, 43)]
        assert row.mean == pytest.approx(np.mean(row.aucs))
        assert row.spread == pytest.approx(np.std(row.aucs, ddof=1))
    assert result.settings[0].verdict == "best"
    (pair,) = result.pairs
    assert pair["difference"] == pytest.approx(result.settings[0].mean - result.settings[1].mean)  # type: ignore[operator]
    rows = list(csv.DictReader((output / "settings.csv").read_text().splitlines()))
    assert [float(row["mean_auc"]) for row in rows] == [row.mean for row in result.settings]
    assert (output / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((output / "result.json").read_text())["pairs"] == result.pairs
    assert any("2 seeds cannot tell" in text for text in result.notices)
    assert any("of patches taken as independent: optimistic" in text for text in result.notices)  # of two slides
    assert result.chance_over == "patch"


def test_what_other_patches_would_do_is_by_slide_and_a_leak_is_told(
    store: Path, whole: tuple[Path, sweep.SweepResult], tmp_path: Path
) -> None:
    """By slide the error is that of `compare`; the six slides of a random split are on both its sides."""
    random = tmp_path / "store"
    shutil.copytree(store, random)
    write_split(open_store(random), "random", val=0.5)
    result = swept(random, tmp_path / "sweep", repeats=1)
    data = open_run_data(random, plan(1).settings[0].config)
    best = next(setting for setting in plan(1).settings if setting.name == result.settings[0].name)
    trained = open_run(sweep.run_path(tmp_path / "sweep", best.slug, 42))
    logits_N = score(trained, data.store, data.val_rows_N, resolve("cpu", num_threads=1))
    assert data.store.groups_N is not None
    groups_N, labels_N = data.store.groups_N[data.val_rows_N], data.store.labels_N[data.val_rows_N]
    twice = {"store": "s", "kind": "random", "output": tmp_path}
    compared = comparison.compare_scores(
        [("", 1)] * 2, ["a", "b"], labels_N, np.stack([logits_N, -logits_N]), groups_N, **twice
    )
    wanted = next(run.standard_error for run in compared.runs if run.name == "a")
    assert (result.chance_over, result.chance) == ("slide", pytest.approx(wanted))
    assert any("by 6 slides" in text for text in result.notices)
    assert any(text.startswith("this split leaks: 6 of 6 groups") for text in result.notices)


def test_training_on_a_split_that_leaks_says_so_once(store: Path, tmp_path: Path) -> None:
    random = tmp_path / "store"
    shutil.copytree(store, random)
    write_split(open_store(random), "random")
    config, starts = plan(1).settings[0].config, []
    for number, split in enumerate((None, read_split(open_store(random)))):  # who gives a split tells of it
        tell = lambda event: starts.append(event) if isinstance(event, train.StartEvent) else None  # noqa: E731
        train.train_run(
            random, tmp_path / str(number), config, resolve("cpu", num_threads=1), split=split, on_event=tell
        )
    leaks = [any("this split leaks" in text for text in start.warnings) for start in starts]
    assert leaks == [True, False]


def test_again_trains_nothing_and_more_seeds_only_those(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    usual = train.train_run
    monkeypatch.setattr(train, "train_run", lambda *args, **more: trained.append(args[1]) or usual(*args, **more))
    first = swept(store, tmp_path / "sweep", repeats=1)
    assert len(trained) == 2
    assert swept(store, tmp_path / "sweep", repeats=1) == first
    assert len(trained) == 2
    assert swept(store, tmp_path / "sweep", repeats=2).seeds == (42, 43)
    assert [path.name for path in trained[2:]] == ["seed-43", "seed-43"]


def test_one_that_was_interrupted_goes_on_to_the_same_numbers(
    store: Path, whole: tuple[Path, sweep.SweepResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, begun = train.train_run, []

    def pressed(*args: Any, **more: Any) -> train.TrainResult:
        begun.append(args[1])
        second = len(begun) == 2
        return usual(*args, **more, on_event=press if second else None)

    def press(event: object) -> None:
        if isinstance(event, StepEvent):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(train, "train_run", pressed)
        stopped = swept(store, tmp_path / "sweep")
    assert (len(begun), stopped.status) == (2, "interrupted")
    assert {row.verdict for row in stopped.settings} == {"incomplete"}
    finished = swept(store, tmp_path / "sweep")
    assert finished.settings == whole[1].settings
    assert finished.pairs == whole[1].pairs


def test_two_at_a_time_give_the_same_numbers(
    store: Path, whole: tuple[Path, sweep.SweepResult], tmp_path: Path
) -> None:
    assert swept(store, tmp_path / "sweep", jobs=2).settings == whole[1].settings


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (FastpathError("run", "found a loss that is NaN", "lower the rate"), "run: found a loss that is NaN; lower"),
        (MemoryError("no room\nfor it"), "MemoryError: no room for it"),
    ],
)
def test_a_run_that_fails_is_told_and_the_others_go_on(
    error: Exception, phrase: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = train.train_run

    def fail(store: Path, run_dir: Path, *args: Any, **more: Any) -> train.TrainResult:
        if "1e-5" in str(run_dir):
            raise error
        return usual(store, run_dir, *args, **more)

    monkeypatch.setattr(train, "train_run", fail)
    result = swept(store, tmp_path / "sweep", repeats=1)
    assert result.status == "failed"
    assert [row.verdict for row in result.settings] == ["best", "incomplete"]
    assert result.pairs == []
    assert phrase in result.failures[0]


def test_a_killed_process_is_told_by_the_option_that_began_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_args: Any, **_more: Any) -> Any:
        raise FastpathError("workers", "a worker process was killed (out of memory?)", "use fewer --workers")

    monkeypatch.setattr("fastpath.system.process_pool.run_jobs", killed)
    with pytest.raises(
        FastpathError, match=r"--jobs: the process of a run was killed .*; give fewer; the same command"
    ):
        swept(store, tmp_path / "sweep", jobs=2)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_sweep_runs_in_form(path: Path, store: Path, tmp_path: Path) -> None:
    """On a network and patches of another size: settings, seeds, schedule and verdicts are the file's own."""
    small = (*TINY[:-1], "data.limit=32", "data.val_limit=16")
    shipped = make_plan(None, grid_file=path, overrides=small)
    result = sweep.sweep_settings(store, tmp_path / "sweep", shipped, device="cpu", num_threads=1)
    assert (result.status, result.failures, result.seeds) == ("finished", [], (42, 43, 44))
    assert sorted(row.name for row in result.settings) == sorted(setting.name for setting in shipped.settings)
    assert result.settings[0].verdict == "best"
    assert {row.verdict for row in result.settings[1:]} <= {"worse", "not distinguishable"}
    num_settings = len(shipped.settings)
    assert len(result.pairs) == num_settings * (num_settings - 1) // 2
    assert {pair["verdict"] for pair in result.pairs} <= {"better", "not distinguishable"}
    for setting in shipped.settings:
        for seed in result.seeds:
            run_dir = sweep.run_path(tmp_path / "sweep", setting.slug, seed)
            rates = [json.loads(line)["lr_head"] for line in (run_dir / "journal.jsonl").read_text().splitlines()]
            assert rates == pytest.approx([1e-4 * share for share in SHARES[setting.config.schedule.kind, path.stem]])


def test_another_grid_store_or_directory_is_refused(
    store: Path, whole: tuple[Path, sweep.SweepResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = whole
    with monkeypatch.context() as patched:
        patched.setattr("fastpath.runtime.cpu_has_bfloat16", lambda: True)
        with pytest.raises(UsageError, match=r"another sweep \('precision': found float32, wanted bfloat16\)"):
            swept(store, output, precision="auto")
    with pytest.raises(UsageError, match=r"holds another sweep \('.*optim.lr_head=1e-3': found .*, wanted None\)"):
        sweep.sweep_settings(store, output, plan(2, "optim.lr_head=1e-2,1e-4"), device="cpu")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="something other than a sweep"):
        swept(store, tmp_path)


@pytest.mark.e2e
def test_the_command_prints_a_table_and_json(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [part for change in TINY for part in ("--set", change)]
    arguments = [
        str(store),
        "-o",
        str(tmp_path / "sweep"),
        "--grid",
        GRID,
        "--device",
        "cpu",
        "--threads",
        "1",
        *changes,
    ]
    printed = []
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["fastpath", "sweep", *arguments, *more])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        assert not ended.value.code
        printed.append(capsys.readouterr())
    assert "optim.lr_head=1e-5" in printed[0].out
    assert printed[0].out.splitlines()[-1] == f"→ {tmp_path / 'sweep' / 'sweep.png'}"
    assert "1 seed cannot tell settings apart" in " ".join(printed[0].err.split())
    values = json.loads(printed[1].out)
    assert values["status"] == "finished"
    assert values["pairs"][0]["verdict"] == "not distinguishable"


def test_weights_that_cannot_be_had_are_told_once_and_no_run_begins(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(name: str) -> None:
        asked.append(name)
        raise ConfigError("model.pretrained", "no network", "give a file")

    monkeypatch.setattr(registry.published_weights, "check", refuse)
    wanted = make_plan(None, (GRID,), overrides=("model.name=resnet10t", "model.trainable=all"), repeats=3)
    with pytest.raises(ConfigError, match="no network"):
        sweep.sweep_settings(store, tmp_path / "sweep", wanted, device="cpu", num_threads=1)
    assert asked == ["resnet10t"]
    assert not (tmp_path / "sweep" / "runs").exists()
