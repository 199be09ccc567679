"""The notebook for Kaggle's kernels, run with no network on an input that is only read."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.workflows import pack

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "kaggle_kernel.ipynb"
SETTINGS = "--config fast_lite0 --set model.name=test_resnet --set model.trainable=all --epochs 1"
# Runs cells in a process of its own. `once` spares most of the time: commands of fastpath run within the process.
RUNNER = """
import json, os, shlex, sys
cells, parameters, once = json.load(sys.stdin)
names = {"__name__": "__main__"}
def within(command):
    from fastpath.cli.main import app
    words = shlex.split(command)
    assert words[0] == "fastpath", words
    assert not app(words[1:], standalone_mode=False), command
for number, cell in enumerate(cells):
    exec(compile(cell, f"cell {number}", "exec"), names)
    if number == 0:
        names.update({key: type(names[key])(value) for key, value in parameters.items()})
        os.chdir(parameters["WORKING"])
    if once and "sh" in names:
        names["sh"] = within
"""


def cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return when each file and folder was last changed: what is written and removed again changes its folder."""
    paths = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """What is attached to a kernel: the competition, at one depth, and a file of weights at another."""
    import timm
    import torch

    folder = tmp_path / "input"
    competition = folder / "competitions" / "histopathologic-cancer-detection"
    write_kaggle_folder(competition, num_train=160, num_test=24, num_slides=20, seed=5)
    (competition / "groups.csv").unlink()  # Kaggle has none
    (folder / "fastpath-wheels").mkdir()
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "fastpath-wheels" / "tiny.pth")
    return folder


def run(inputs: Path, working: Path, *, once: bool) -> list[dict[str, str]]:
    """Run the notebook with no network and a read-only input; return the rows of the submission."""
    working.mkdir()
    for path in (inputs, *inputs.rglob("*")):
        path.chmod(path.stat().st_mode & 0o555)
    before, tried, home = state(inputs), working.parent / "tried", working.parent / "home"
    for folder in (home, working.parent / "bin"):
        folder.mkdir()
    command = working.parent / "bin" / "fastpath"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fastpath "$@"\n')
    command.chmod(0o755)
    known = {name: value for name, value in os.environ.items() if not re.match(r"HF_|TORCH_HOME|XDG_|MPL", name)}
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    known |= {"HOME": str(home), "FASTPATH_TEST_NO_NETWORK": str(tried), "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    if not once:  # as a kernel of Jupyter has it for what it starts
        known |= {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "MPLBACKEND": "module://absent.backend_inline"}
    known["PATH"] = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    parameters = {"INPUT": str(inputs), "WORKING": str(working), "WEIGHTS": "tiny.pth", "SETTINGS": SETTINGS}
    alone = [] if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode else ["unshare", "-rn"]
    done = subprocess.run(
        [*alone, sys.executable, "-c", RUNNER],
        input=json.dumps([cells(), parameters, once]),
        env=known,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert not tried.exists(), tried.read_text()
    assert "\x1b[2K" not in done.stdout + done.stderr  # a bar
    assert state(inputs) == before
    with (working / "submission.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_notebook_makes_a_submission_with_no_network(inputs: Path, tmp_path: Path) -> None:
    rows = run(inputs, tmp_path / "working", once=True)
    with (inputs / "competitions" / "histopathologic-cancer-detection" / "sample_submission.csv").open() as file:
        assert [row["id"] for row in rows] == [row["id"] for row in csv.DictReader(file)]
    assert len({row["label"] for row in rows}) > 1
    assert (tmp_path / "working" / "store" / "shard-00000.npy").is_file()
    assert (tmp_path / "working" / "run" / "evaluation-test-d4" / "report.html").is_file()


@pytest.mark.slow
def test_it_takes_a_packed_store_that_is_an_input(inputs: Path, tmp_path: Path) -> None:
    """And its commands run as in a kernel, each in a process of its own; slides are named by a table."""
    competition = inputs / "competitions" / "histopathologic-cancer-detection"
    pack.pack_source(competition, inputs / "earlier" / "store", workers=1)
    (inputs / "earlier" / "store" / "split.json").unlink()
    with (competition / "train_labels.csv").open() as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    table = "".join(f"{name},slide-{number % 16}\n" for number, name in enumerate(ids))
    (inputs / "slides").mkdir()
    (inputs / "slides" / "patch_id_wsi_full.csv").write_text(f"id,wsi\n{table}")
    assert len(run(inputs, tmp_path / "working", once=False)) == 24
    assert not (tmp_path / "working" / "store").exists()
    assert json.loads((tmp_path / "working" / "split.json").read_text())["kind"] == "group"

    # And a run that is an input of the next kernel predicts, and stays as it is.
    trained, table = tmp_path / "working" / "run", tmp_path / "again.csv"
    before = state(trained)
    words = ("predict", trained, "--source", competition, "--tta", "d4", "-o", table, "-q")
    outcome = CliRunner().invoke(app, [*map(str, words)])
    assert outcome.exit_code == 0, outcome.output + repr(outcome.exception)
    assert state(trained) == before
    assert table.read_bytes() == (tmp_path / "working" / "submission.csv").read_bytes()


def test_the_notebook_was_run_from_top_to_bottom_on_kaggles_paths() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    ran = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in ran] == list(range(1, len(ran) + 1))
    assert 'INPUT = Path("/kaggle/input")' in cells()[0]
    assert 'WORKING = Path("/kaggle/working")' in cells()[0]
    printed = json.dumps([cell["outputs"] for cell in ran])
    assert "/kaggle/working/run" in printed
    assert not [output for cell in ran for output in cell["outputs"] if output["output_type"] == "error"]


@pytest.mark.parametrize(
    ("code", "tried"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9))", None),
        ("import socket; socket.create_connection(('example.org', 80))", "example.org"),
        ("import socket; socket.socket().connect(('192.0.2.1', 80))", "192.0.2.1"),
        ("import urllib.request; urllib.request.urlopen('https://example.org')", "example.org"),
    ],
)
def test_the_network_is_refused(code: str, tried: str | None, tmp_path: Path) -> None:
    environment = {**os.environ, "FASTPATH_TEST_NO_NETWORK": str(tmp_path / "tried"), "no_proxy": "*"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ("refused by a test" in done.stderr) == (tried is not None)
    assert ((tmp_path / "tried").read_text() if tried else None) == (f"{tried}\n" if tried else None)
    assert tried or not (tmp_path / "tried").exists()
