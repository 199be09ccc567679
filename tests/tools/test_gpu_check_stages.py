"""Each stage of the check for a card, on the CPU: what it tells, and that it can find something wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
import torch

from benchmarks.card import batches, epochs, facts, loops, patches, profiled, repeat, saves, suite, sweep, variants
from benchmarks.card.check import Check
from benchmarks.card.driver import end_tree
from benchmarks.card.table import table
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split

pytestmark = pytest.mark.dali
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Patches, made once; torch's threads are given back at the end."""
    threads = torch.get_num_threads()
    yield tmp_path_factory.mktemp("card")
    torch.set_num_threads(threads)


@pytest.fixture
def check(shared: Path, tmp_path: Path) -> Check:
    return Check("cpu", tiny=True, out=tmp_path, scratch=shared, began=time.time())


def test_a_store_of_any_size_over_the_same_pixels(check: Check) -> None:
    patches.tell(check)
    small, large = open_store(patches.store(check)), open_store(patches.whole(check))
    assert (len(small), len(large)) == (patches.TINY_UNIQUE, patches.TINY_ROWS)
    assert (large.gather(large.labels_N.nonzero()[0]) == small.gather(large.labels_N.nonzero()[0] % len(small))).all()
    assert (large.labels_N[len(small) :] == small.labels_N[: len(large) - len(small)]).all()
    split = read_split(large)
    assert len(split.rows(Split.VAL)) == patches.TINY_ROWS // 5
    assert split.mean_3 == pytest.approx(small.manifest.mean_3, abs=0.05)


def test_batches_of_every_policy_are_compared_in_every_residency(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    batches.tell(check)
    rows = check.rows()
    assert {row["policy"].split(",")[0] for row in rows} == {"notebook", "none", "d4", "strong", "ring", "everything"}
    assert [row["residency"] for row in rows] == ["host", "device"] * 8
    # The CPU in the card's place: the same code must give the same bytes.
    assert {row["largest"] for row in rows} == {0.0}
    assert all(row["agrees"] for row in rows)

    real = batches.images
    monkeypatch.setattr(batches, "COMPARED", {"d4": {"policy": "d4"}})
    monkeypatch.setattr(batches, "images", lambda *args: real(*args) + (args[-1] == "device"))
    with pytest.raises(AssertionError, match=r"differ from the CPU's: d4 \(device\)"):
        batches.tell(check)
    assert "| **no** |" in table(check.rows())


def test_exact_policies_are_held_to_their_worst_pixel() -> None:
    row = {"mean": 0.001, "largest": 1.5}
    assert batches.agrees("strong", row)
    assert not batches.agrees("d4", row)
    assert not batches.agrees("strong", {"mean": float("nan"), "largest": 0.0})


PYTESTS = """
import os, time
def test_passes(): pass
def test_fails(): assert 1 == 2
def test_takes_long(): time.sleep(30)
def test_dies(): os._exit(1)
def test_after(): pass
"""


def test_the_tests_go_on_after_one_that_hangs_or_dies(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "test_inside.py"
    file.write_text(PYTESTS, encoding="utf-8")
    monkeypatch.setattr(suite, "LIMIT_S", 0.5)
    monkeypatch.chdir(ROOT)
    with pytest.raises(AssertionError, match="3 of 5 tests failed"):
        suite.tell(check, (str(file), "--rootdir", str(tmp_path), "-c", "/dev/null"))
    *others, summary = check.rows()
    row_by_test = {row["test"].rpartition("::")[2]: row for row in others}
    assert {name: row["outcome"] for name, row in row_by_test.items()} == {
        "test_fails": "failed",
        "test_takes_long": "failed",
        "test_dies": "ended",
    }
    assert (summary["passed"], summary["failed"], summary["skipped"]) == (2, 3, 0)
    assert len(list(check.out.glob("junit-*.xml"))) == 1  # the first process did not come to write its own


def test_whole_epochs_of_both_recipes_are_told_as_they_end(check: Check) -> None:
    epochs.tell(check)
    ended = [row for row in check.rows() if "epoch" in row]
    assert [(row["recipe"], row["epoch"]) for row in ended] == [("notebook", 1), ("fast", 1), ("fast", 2), ("fast", 3)]
    for row in ended:
        assert row["epoch_s"] == pytest.approx(row["train_s"] + row["val_s"] + row["rest_s"], abs=0.02)
        # Seconds are told to a hundredth, which is a twentieth of so short an epoch.
        assert 960 / row["times_the_notebook"] == pytest.approx(row["epoch_s"], abs=0.006)
    assert [stage.epochs for stage in epochs._fast(replace(check, tiny=False)).stages] == [2, 1]
    sizes = [stage.data.image_size_px for stage in epochs._fast(replace(check, tiny=False)).stages]
    assert sizes == [96, 128]


def test_a_run_is_equal_when_repeated_and_when_killed(check: Check) -> None:
    repeat.tell_repeat(check)
    repeat.tell_resume(check)
    twice, killed = check.rows()
    for row in (twice, killed):
        assert row["agrees"]
        assert row["journals_equal"]
        assert row["weights_equal"]
        assert row["weights_apart"] == 0
    assert "killed after" in killed["name"]

    runs = check.scratch / "run-first", check.scratch / "run-second"
    journal = runs[1] / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    lines[-1]["train_loss"] *= 1.5
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    assert repeat.compared(*runs)["loss_apart"] == pytest.approx(0.5)
    with pytest.raises(AssertionError, match="not the same run"):
        repeat.tell_repeat(check)


def test_loader_network_and_both_are_timed_for_each_batch_and_recipe(check: Check) -> None:
    sweep.tell(check)
    rows = [row for row in check.rows() if "kind" in row]
    assert [(row["recipe"], row["kind"]) for row in rows] == [
        (recipe, kind) for recipe in ("notebook", "fast") for kind in ("loader", "both", "network")
    ]
    assert all(row["total_ms"] > 0 and row["host_ms"] >= row["cpu_ms"] * 0.5 > 0 for row in rows)


def test_a_profile_leaves_counts_kernels_and_a_trace(check: Check) -> None:
    profiled.tell(check)
    first = check.rows()[0]
    assert {"launches", "graph_launches", "copies", "waits", "card_ms"} <= set(first)
    assert (check.out / profiled.TRACE).stat().st_size > 0
    assert "aten::" in (check.out / profiled.KERNELS).read_text(encoding="utf-8")


class Event:
    def __init__(self, key: str, count: int, us: float = 0.0) -> None:
        self.key, self.count, self.self_device_time_total = key, count, us


def test_launches_copies_and_waits_are_counted_a_step() -> None:
    events = [Event("cudaLaunchKernel", 8), Event("cuLaunchKernelEx", 2), Event("cudaMemcpyAsync", 4)]
    events += [Event("cudaStreamSynchronize", 2), Event("cudaGraphLaunch", 2), Event("sgemm", 6, 3000.0)]
    counts = profiled.counts(events, 2)
    assert counts == {
        "launches": 5.0,
        "graph_launches": 1.0,
        "copies": 2.0,
        "memsets": 0.0,
        "waits": 1.0,
        "card_ms": 1.5,
    }


def test_a_variant_that_cannot_run_is_told_of_and_passed(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    some = (variants.VARIANTS[0], variants.Variant("unknown", ("train.unheard_of=1",)), variants.VARIANTS[4])
    monkeypatch.setattr(variants, "VARIANTS", some)
    variants.tell(check)
    rows = check.rows()
    assert [row["name"] for row in rows] == [variant.name for variant in some]
    assert "unheard_of" in rows[1]["failed"]
    assert all("total_ms" in row for row in (rows[0], rows[2]))


def test_checkpoints_are_told_by_size_and_by_how_long_they_hold(check: Check) -> None:
    saves.tell(check)
    (row,) = check.rows()
    assert row["saves"] == saves.SAVES
    assert row["mib"] > 0
    # A step takes a second, and half a second more after each fourth.
    ends = [(step, float(step) + 0.5 * (step // 4)) for step in range(1, 11)]
    held, others = saves.gaps(ends, 4)
    assert held == [1.5, 1.5]
    assert set(others) == {1.0}


def test_loops_are_raced_in_turns_and_one_that_fails_is_left_out(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    class Fake:
        rates: ClassVar = {"fastpath_loop": 300.0, "notebook_loop": 100.0}

        def __init__(self, contestant: Any, arguments: list[str]) -> None:
            self.module = contestant.module
            assert "--device=cpu" in arguments

        def ask(self, **request: int) -> dict[str, Any]:
            if self.module not in self.rates:
                raise click.ClickException("no compiler")
            if "describe" in request:
                return {"differs": [], "positive": 0.5}
            turns.append(self.module)
            return {"images_per_s": self.rates[self.module] * len(turns)}

        def close(self) -> None:
            pass

    names = (loops.OURS, loops.NOTEBOOK, "a strong user's loop")
    monkeypatch.setattr(loops, "REHEARSED", {name: loops.CONTESTANTS[name] for name in names})
    monkeypatch.setattr(loops, "Running", Fake)
    loops.tell(check)
    rows = check.rows()
    assert turns == ["fastpath_loop", "notebook_loop"]
    assert [row["left_out"] for row in rows if "left_out" in row] == ["no compiler"]
    last = rows[-1]
    assert last["name"] == loops.NOTEBOOK
    assert last["fastpath_times_as_fast"] == 1.5  # 300 in the first turn, 200 in the second
    assert last["epoch_training_s"] == pytest.approx(176_020 / 200, abs=0.1)


def test_facts_name_device_and_versions(check: Check) -> None:
    facts.tell(check)
    described = {key: value for row in check.rows() for key, value in row.items()}
    assert set(described["versions"]) == {"torch", "torchvision", "timm", "dali", "cuda", "cudnn"}
    assert described["runtime"].startswith("cpu, ")


def test_ending_a_process_ends_what_it_has_started_in_other_sessions() -> None:
    inner = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
    )
    inner += "start_new_session=True); print(p.pid, flush=True); time.sleep(600)"
    outer = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, text=True)
    assert outer.stdout is not None
    child = int(outer.stdout.readline())
    end_tree(outer.pid)
    outer.communicate()
    stat = Path(f"/proc/{child}/stat")
    deadline = time.monotonic() + 30
    while stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_the_whole_check_is_rehearsed_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/gpu_check.py"), "--device", "cpu", "--tiny", "--budget", "3000"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text.count("| done |") == 12
    (record,) = tmp_path.glob("gpu-check-cpu_*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["settings"]["runtime"].startswith("cpu, ")
