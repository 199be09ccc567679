"""The check for a machine with a card, with the CPU in the card's place."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.card import driver
from benchmarks.card.check import RESULTS, Check
from benchmarks.card.stages import STAGES, Stage
from benchmarks.card.table import failures, status_of, table
from benchmarks.card.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "tools" / "gpu_check.py"
# Stages that need nothing but Python, in a module that the process which runs them finds on its path.
FAKES = """
import os, subprocess, sys, time
def passes(check): check.tell("passes", figure=1.5)
def fails(check):
    check.tell("fails", figure=2.5)
    raise ValueError("two\\nlines")
def hangs(check):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    check.tell("hangs", child=child.pid)
    time.sleep(600)
def dies(check):
    check.tell("dies", figure=3.5)
    os._exit(3)
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """A check whose device is there without torch being asked."""
    (tmp_path / "fakes.py").write_text(FAKES, encoding="utf-8")
    (tmp_path / "cheap.py").write_text(
        "from benchmarks.card.check import Check\n"
        "class Cheap(Check):\n"
        "    def runtime(self, *, amp=True): return self\n"
        "    def describe(self): return 'a device'\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from cheap import Cheap

    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    cheap: Check = Cheap("cpu", True, tmp_path / "out", tmp_path / "scratch", time.time())
    return cheap


def stage(name: str, *, seconds: float = 30.0, correctness: bool = False) -> Stage:
    return Stage(name, f"fakes:{name}", seconds, f"What {name}", correctness)


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended but is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stage_that_fails_hangs_or_dies_stops_no_other(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    real = driver.Worker._answer

    def answer(worker: driver.Worker, limit_s: float) -> object:
        while limit_s == 2 and not any("child" in row for row in check.rows()):
            time.sleep(0.01)  # the limit passes once the stage hangs, however slow the machine
        return real(worker, limit_s)

    monkeypatch.setattr(driver.Worker, "_answer", answer)
    stages = [stage("fails", correctness=True), stage("hangs", seconds=1), stage("dies"), stage("passes")]
    driver.run(check, stages, budget_s=300, patience=2)
    rows = check.rows()
    assert [status_of(rows, each.name) for each in stages] == ["failed", "ended", "ended", "done"]
    row_by_stage = {row["stage"]: row for row in rows if "status" in row and row["status"] != "begun"}
    assert row_by_stage["fails"]["error"] == "ValueError: two lines"
    assert "in fails" in row_by_stage["fails"]["trace"]
    assert row_by_stage["hangs"]["error"] == "the stage was ended after 2 s"
    assert row_by_stage["dies"]["error"] == "the stage ended by itself with exit status 3"
    # What was known before each end is kept, and a stage that was ended leaves no child.
    assert {row["figure"] for row in rows if "figure" in row} == {1.5, 2.5, 3.5}
    (child,) = (row["child"] for row in rows if "child" in row)
    assert not alive(child)
    assert failures(rows, stages) == ["fails"]
    text = table(rows, stages)
    assert "| fails | **failed**: ValueError: two lines |" in text
    assert "## What dies\n\n| figure |\n|---|\n| 3.5 |" in text


def test_what_does_not_fit_the_budget_is_skipped_and_what_does_is_run(check: Check) -> None:
    stages = [stage("fails", seconds=1000, correctness=True), stage("passes")]
    reports: list[int] = []
    driver.run(check, stages, budget_s=200, patience=2, after=lambda: reports.append(len(check.rows())))
    rows = check.rows()
    assert [status_of(rows, each.name) for each in stages] == ["skipped", "done"]
    assert failures(rows, stages) == []  # nothing was found wrong; the table says what was not looked at
    assert reports == [4]  # skipped, begun, the figure, done
    assert "| fails | skipped |  | 1000 s |" in table(rows, stages)


def test_a_results_file_cut_short_by_a_crash_reads_up_to_there(check: Check) -> None:
    check.tell("passes", figure=1)
    with (check.out / RESULTS).open("a", encoding="utf-8") as file:
        file.write('{"stage": "pas')
    assert [row["figure"] for row in check.rows()] == [1]


def figures(**changes: float) -> list[dict[str, Any]]:
    """Return what a check tells that meets every target, with changes."""
    measured = {"notebook": 24.0, "fast": 4.0, "last": 8.0, "loader": 61_000, "stall": 0.01, "host": 0.9} | changes
    return [
        {
            "stage": "epochs",
            "recipe": "notebook",
            "epoch": 1,
            "epoch_s": measured["notebook"],
            "stall_share": measured["stall"],
        },
        {"stage": "epochs", "recipe": "fast", "epoch": 1, "epoch_s": 99.0},
        {"stage": "epochs", "recipe": "fast", "epoch": 2, "epoch_s": measured["fast"]},
        {"stage": "epochs", "recipe": "fast", "epoch": 3, "epoch_s": measured["last"]},
        {"stage": "sweep", "name": "patches", "residency": "device"},
        {"stage": "sweep", "recipe": "notebook", "kind": "loader", "batch": 64, "images_per_s": 1.0},
        {"stage": "sweep", "recipe": "notebook", "kind": "loader", "batch": 512, "images_per_s": measured["loader"]},
        {"stage": "sweep", "recipe": "notebook", "kind": "both", "batch": 64, "host_ms": measured["host"]},
        {"stage": "sweep", "recipe": "notebook", "kind": "both", "batch": 512, "host_ms": 50.0},
    ]


@pytest.mark.parametrize(
    ("number", "key", "bad"),
    [(0, "notebook", 25.1), (1, "fast", 4.3), (2, "loader", 59_999), (3, "stall", 0.021), (4, "host", 1.01)],
)
def test_each_target_is_met_or_short_by_its_own_figure(number: int, key: str, bad: float) -> None:
    assert [target.verdict(figures()) for target in TARGETS] == ["met"] * 5
    verdicts = [target.verdict(figures(**{key: bad})) for target in TARGETS]
    assert verdicts == ["short" if place == number else "met" for place in range(5)]
    assert [target.verdict([]) for target in TARGETS] == ["not measured"] * 5


def test_the_table_sets_each_target_beside_what_was_found() -> None:
    text = table(figures(loader=59_000))
    assert "| the notebook's epoch, checkpoints included | ≤ 25.0 s | 24.0 s | met |" in text
    assert "| an epoch of the fast recipe, mean of its five | ≤ 5.0 s | 4.8 s | met |" in text
    assert "| loader alone, patches on the card | ≥ 60,000 patches/s | 59,000 patches/s | **short** |" in text
    assert "| tests | not run |  | 50 s |" in text
    # On the host, the loader's rate is not what the target speaks of.
    elsewhere = [row for row in figures() if row.get("name") != "patches"]
    assert "| ≥ 60,000 patches/s |  | not measured |" in table(elsewhere)


def test_all_stages_fit_the_budget_as_they_are_expected() -> None:
    import importlib.util
    from inspect import signature

    spec = importlib.util.spec_from_file_location("gpu_check", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    budget = next(option.default for option in tool.main.params if option.name == "budget")
    assert sum(each.seconds for each in STAGES) <= budget
    correctness = [place for place, each in enumerate(STAGES) if each.correctness]
    assert correctness[:2] == [2, 3]  # batches and tests, before anything is timed
    for each in STAGES:
        module, function = each.run.split(":")
        assert len(signature(getattr(importlib.import_module(module), function)).parameters) >= 1
    assert [each.name for each in tool.chosen("sweep,facts", "")] == ["facts", "sweep"]
    assert "loops" not in [each.name for each in tool.chosen("", "loops")]
    with pytest.raises(Exception, match="found sweeps, wanted any of facts, patches"):
        tool.chosen("sweeps", "")


def run_tool(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, check=False, **options)


def test_without_a_card_it_says_so_in_one_line_and_exits_2(tmp_path: Path) -> None:
    done = run_tool("--out", str(tmp_path / "out"), env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu-check: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
