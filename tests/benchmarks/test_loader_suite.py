import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from benchmarks.peers import environments
from benchmarks.peers.packed import Packed
from benchmarks.suites import loader
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.store.reader import open_store
from fastpath.workflows import pack

PEERS = Path(loader.__file__).parents[1] / "peers"
SETTINGS = {"mode": "train", "image_size_px": 224, "batch_size": 64}
GOOD = {"shape": [64, 3, 224, 224], "dtype": "float32", "mean": 0.1, "std": 1.0, "positive": 0.5}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    write_kaggle_folder(folder / "kaggle", num_train=60, num_test=1)
    pack.pack_source(folder / "kaggle", folder / "store")
    return folder / "store"


def test_every_contestant_has_a_script_and_every_environment_a_use() -> None:
    assert all((PEERS / f"{who.module}.py").exists() for who in loader.CONTESTANTS.values())
    used = {who.environment for who in loader.CONTESTANTS.values()} - {None}
    assert used == set(environments.ENVIRONMENTS)


def test_every_variant_says_what_it_does_otherwise() -> None:
    for name, who in loader.CONTESTANTS.items():
        if who.variant:
            assert f'"{who.variant}": Work(' in (PEERS / f"{who.module}.py").read_text(), name


def test_the_clock_needs_the_standard_library_only() -> None:
    tree = ast.parse((PEERS / "common.py").read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert all(module.split(".")[0] in sys.stdlib_module_names for module in modules if module)


def test_versions_are_pinned() -> None:
    for name, wanted in environments.ENVIRONMENTS.items():
        assert any(f"{name}==" in package for package in (*wanted.packages, *wanted.alone))


def test_validation_runs_each_script_once() -> None:
    assert set(Counter(who.module for who in loader.contestants_of("val").values()).values()) == {1}
    assert loader.contestants_of("train") == loader.CONTESTANTS


def test_good_batches_have_no_faults() -> None:
    assert loader.faults(GOOD, SETTINGS) is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"dtype": "float16"}, "found float16"),
        ({"shape": [64, 3, 96, 96]}, "wanted float32 [64, 3, 224, 224]"),
        ({"mean": 120.0, "std": 50.0}, "wanted about 0 and 1"),
        ({"positive": 0.405}, "not weighted"),
    ],
)
def test_other_batches_are_named(change: dict[str, object], problem: str) -> None:
    assert problem in str(loader.faults(GOOD | change, SETTINGS))


def test_validation_may_hold_any_share_of_positives() -> None:
    assert loader.faults(GOOD | {"positive": 0.0}, SETTINGS | {"mode": "val"}) is None


def test_table_says_what_cannot_be_done_and_why_others_are_absent() -> None:
    described = {
        "fastpath": {"cannot": [], "differs": []},
        "other": {"cannot": ["rotation", "hue"], "differs": ["colour in one order"]},
    }
    table = loader.table_of({"fastpath": [200.0], "other": [100.0]}, described, {"gone": "no environment"})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[2] == ["fastpath", "200 (200 to 200)", "", "yes", ""]
    assert rows[3][2:] == ["2.00x (2.00 to 2.00)", "no: cannot do rotation, hue", "colour in one order"]
    assert rows[4] == ["gone", "left out", "", "", "no environment"]
    assert len({len(row) for row in rows}) == 1


def test_absent_environments_and_failures_leave_a_contestant_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    entrants = {
        "fine": loader.Contestant("fine"),
        "broken": loader.Contestant("broken"),
        "absent": loader.Contestant("absent", "", "kornia"),
    }
    running, described, skipped = loader.examined(entrants, [], SETTINGS, FakeRunning)
    assert list(running) == ["fine"]
    assert described == {"fine": GOOD}
    assert skipped["broken"] == "failed: ImportError: no such module"
    assert "benchmarks.peers.environments kornia" in skipped["absent"]


class FakeRunning(loader.Running):
    def __init__(self, contestant: loader.Contestant, arguments: Sequence[str]) -> None:
        self.contestant = contestant

    def ask(self, **request: int) -> dict[str, Any]:
        assert request == {"describe": loader.CHECK_BATCHES}
        if self.contestant.module == "broken":
            raise click.ClickException("ImportError: no such module")
        return GOOD


def test_a_contestant_that_dies_gives_its_last_line_of_error() -> None:
    process = loader.Running(loader.Contestant("no_such_contestant"), [])
    with pytest.raises(click.ClickException, match=r"No module named benchmarks\.peers\.no_such_contestant"):
        process.ask(batches=1)
    process.close()


def test_an_environment_counts_only_as_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    (tmp_path / "kornia").mkdir()
    ready = tmp_path / "kornia" / "ready.json"
    ready.write_text(json.dumps(environments._pins("kornia")))
    assert environments.absence("kornia") is None
    ready.write_text(json.dumps(environments._pins("litdata")))
    assert "other versions" in environments.absence("kornia")
    (tmp_path / "kornia" / "failed.txt").write_text("the machine lacks g++\n")
    assert environments.absence("kornia") == "the machine lacks g++"


def test_a_build_without_its_tools_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments.shutil, "which", lambda _: None)
    assert environments.main(["ffcv"]) == 1
    assert "the machine lacks pkg-config, g++: run 'apt-get install" in capsys.readouterr().out
    assert "lacks pkg-config" in environments.absence("ffcv")
    assert environments.main(["unheard"]) == 2


def test_packed_reads_what_the_store_reads(store: Path) -> None:
    packed, wanted = Packed(store), open_store(store)
    rows_N = np.array([5, 0, 59, 5])
    np.testing.assert_array_equal(packed.gather(rows_N), wanted.gather(rows_N))
    np.testing.assert_array_equal(packed.labels_N, wanted.labels_N)


def test_packed_draws_both_classes_alike_and_validates_in_order(store: Path) -> None:
    packed = Packed(store)
    drawn_N = np.concatenate(list(islice(packed.batches_of_rows("train", 64), 100)))
    assert abs(packed.labels_N[drawn_N].mean() - 0.5) < 0.04  # six standard errors of 6,400 draws
    in_order = np.concatenate(list(islice(packed.batches_of_rows("val", 7), 20)))
    np.testing.assert_array_equal(in_order, np.arange(140) % 60)


SCRIPT = """
import numpy as np
from benchmarks.peers.common import Work, main
def load(task):
    while True:
        yield np.ones((task.batch_size, 3, 2, 2), np.float32), np.arange(task.batch_size) % 2
main(load, {"odd": Work(("hue",), ("order",)), "val": Work(differs=("resize",))}, ["numpy"])
"""


def run_script(request: str, *arguments: str) -> list[dict[str, Any]]:
    fixed = [f"--{name}=1" for name in ("folder", "store", "threads", "warm")]
    fixed += ["--image-size-px=2", "--batch-size=8"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *fixed, *arguments],
        input=request,
        capture_output=True,
        text=True,
        check=True,
        cwd=PEERS.parents[1],
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_clock_counts_images_and_reports_work_and_versions() -> None:
    result, again = run_script('{"batches": 3}\n{"batches": 5}\n', "--mode=train", "--variant=odd")
    assert again["images"] == 40
    assert result["images"] == 24
    assert result["images_per_s"] == pytest.approx(24 / result["seconds"])
    assert (result["cannot"], result["differs"]) == (["hue"], ["order"])
    assert result["versions"] == {"numpy": np.__version__}


def test_the_check_describes_batches() -> None:
    (result,) = run_script('{"describe": 2}\n', "--mode=val")
    assert (result["shape"], result["dtype"]) == ([8, 3, 2, 2], "float32")
    assert (result["mean"], result["std"], result["positive"]) == (1.0, 0.0, 0.5)
    assert (result["cannot"], result["differs"]) == ([], ["resize"])
