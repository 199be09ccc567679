"""Splits that lie outside their store: side by side, beside a read-only store, and with slides of their own."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_recipe import tiny_recipe

from fastpath.cli.main import app
from fastpath.errors import CheckpointError, DataError, StoreError, UsageError
from fastpath.runs.trained import open_run
from fastpath.runtime import resolve
from fastpath.store.format import hash_file
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack, split
from fastpath.workflows.evaluate import evaluate
from fastpath.workflows.verify import verify

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

TINY = tiny_recipe(1, "natural")


@pytest.fixture(scope="module")
def packed(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose index names no slides, and the table that does."""
    root = tmp_path_factory.mktemp("splits")
    shutil.copytree(kaggle_folder, root / "kaggle")
    (root / "kaggle" / "groups.csv").rename(root / "groups.csv")
    pack.pack_source(root / "kaggle", root / "store", workers=1)
    (root / "tiny.toml").write_text(TINY)
    return root


@pytest.fixture
def root(packed: Path, tmp_path: Path) -> Path:
    shutil.copytree(packed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def _invoke(*arguments: object) -> dict[str, Any]:
    outcome = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert outcome.exit_code == 0, outcome.output + repr(outcome.exception)
    document: dict[str, Any] = json.loads(outcome.stdout)
    return document


def _error(*arguments: object) -> str:
    outcome = CliRunner().invoke(app, [*map(str, arguments)])
    assert isinstance(outcome.exception, UsageError), outcome.output
    assert len(str(outcome.exception).splitlines()) == 1
    return str(outcome.exception)


def _train(root: Path, name: str, *more: object) -> dict[str, Any]:
    return _invoke("train", root / "store", "-o", root / name, "--config", root / "tiny.toml", "--device", "cpu", *more)


def test_a_run_finds_the_split_that_it_was_trained_by(root: Path) -> None:
    """Two divisions of one store lie side by side, and the store's own may change without harm to their runs."""
    store, by_slide, other = root / "store", root / "by-slide.json", root / "other.json"
    before = {path.name: hash_file(path) for path in store.iterdir()}
    divided = _invoke("split", store, "--groups", root / "groups.csv", "--test", 0.2, "-o", by_slide)
    assert (divided["kind"], divided["file"], divided["groups_train"] > 0) == ("group", str(by_slide), True)
    assert _invoke("split", store, "--kind", "random", "--seed", 5, "-o", other)["groups_val"] == 0
    assert {path.name: hash_file(path) for path in store.iterdir()} == before
    rows = [read_split(open_store(store, split_file=path)).codes_N for path in (by_slide, other, None)]
    assert len({row.tobytes() for row in rows}) == 3

    assert _train(root, "run", "--split-file", by_slide)["start"]["num_val"] == divided["num_val"]
    facts = json.loads((root / "run" / "run.json").read_text())
    assert (facts["split_file"], facts["split_hash"]) == (str(by_slide), hash_file(by_slide))
    split.split_store(store, kind="random", seed=9)
    evaluation = _invoke("evaluate", root / "run")
    assert (evaluation["num_patches"], evaluation["num_slides"]) == (divided["num_val"], divided["groups_val"])
    assert _invoke("evaluate", root / "run", "--split", "test")["num_patches"] == divided["num_test"]
    assert _invoke("explain", root / "run", "-o", root / "e", "--sample", 2, "--no-audit")["num_patches"] == 2
    assert _invoke("mine", root / "run", "-o", root / "m.csv")["num_labelled"] == divided["num_train"]
    card = root / "m.ts.card.json"
    _invoke("export", root / "run", "-o", root / "m.ts", "--check", 8)
    assert json.loads(card.read_text())["population"]["parts"]["trained on"]["num_patches"] == divided["num_train"]
    assert _train(root, "run", "--resume")["epochs"] == 1

    # Another split than its own is judged where it is asked for, beside the first, and says what was trained on.
    beside = _invoke("evaluate", root / "run", "--split-file", other)
    assert beside["output"] == str(root / "run" / "evaluation-val-other")
    trained_N = read_split(open_store(store, split_file=by_slide)).rows(Split.TRAIN)
    val_N = read_split(open_store(store, split_file=other)).rows(Split.VAL)
    assert beside["history"]["num_trained_on"] == len(np.intersect1d(trained_N, val_N))
    assert "this is not the split that the run was trained on" in " ".join(beside["notices"])

    # A file that was moved is named, or given anew.
    by_slide.rename(root / "moved.json")
    assert f"{by_slide}: found no file, wanted a split" in _error("evaluate", root / "run")
    assert _invoke("evaluate", root / "run", "--split-file", root / "moved.json")["num_patches"] == divided["num_val"]


def test_runs_by_one_file_are_compared_swept_and_audited(root: Path) -> None:
    file = root / "folds.json"
    _invoke("split", root / "store", "--groups", root / "groups.csv", "--folds", 2, "-o", file)
    options = ("--config", root / "tiny.toml", "--split-file", file)
    assert _invoke("train", root / "store", "-o", root / "f", *options, "--folds", 2)["num_folds"] == 2
    assert open_run(root / "f" / "fold-1").split_file == file
    _invoke("sweep", root / "store", "-o", root / "s", *options, "--grid", "optim.weight_decay=0,0.1")
    runs = sorted((root / "s" / "runs").glob("*/seed-*"))
    assert len(_invoke("compare", *runs, "-o", root / "c")["runs"]) == 2
    audited = _invoke("audit", root / "store", "-o", root / "a", "--split-file", file)
    assert audited["num_val"] == len(read_split(open_store(root / "store", split_file=file)).rows(Split.VAL))
    assert audited["same_slide"] == 0  # slides came with the file
    _invoke("inspect", root / "store", "-o", root / "i", "--split-file", file)
    assert json.loads((root / "i" / "inspect.json").read_text())["split"]["kind"] == "group"
    shown = _invoke("show", root / "store", "-o", root / "sh", "--epoch", 0, "--position", 0, "--split-file", file)
    assert shown["shown"][0]["slide"]


def test_slides_stay_with_the_store_once_they_are_given(root: Path) -> None:
    """In the store's own split, and through the next division: the index and the fingerprint stay as they are."""
    store, before = root / "store", open_store(root / "store")
    index = hash_file(store / "index.parquet")
    assert before.groups_N is None
    split.split_store(store, groups=root / "groups.csv")
    again = split.split_store(store, seed=3)
    opened = open_store(store)
    assert (again.kind, opened.fingerprint, hash_file(store / "index.parquet")) == (
        "group",
        before.fingerprint,
        index,
    )
    assert opened.groups_N is not None
    assert not set(opened.groups_N[read_split(opened).rows(Split.TRAIN)]) & set(
        opened.groups_N[read_split(opened).rows(Split.VAL)]
    )
    assert not verify.verify_store(store, workers=1).damages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "lacks 1 of 96 ids"),
        (lambda lines: [*lines, lines[1].split(",")[0] + ",other"], "wanted one"),
        (lambda lines: ["id,place", *lines[1:]], "found columns .id,place., wanted"),
    ],
)
def test_groups_that_do_not_name_each_patch_are_refused(root: Path, change: Any, message: str) -> None:
    table, before = root / "groups.csv", hash_file(root / "store" / "split.json")
    table.write_text("\n".join(change(table.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=message):
        split.split_store(root / "store", groups=table)
    assert hash_file(root / "store" / "split.json") == before


def test_groups_are_refused_where_the_index_has_them(kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    with pytest.raises(DataError, match="its index names 6 groups already"):
        split.split_store(tmp_path / "store", groups=kaggle_folder / "groups.csv")


def test_a_split_is_written_over_nothing_but_a_split(root: Path) -> None:
    (root / "notes.json").write_text("{}")
    with pytest.raises(UsageError, match="something other than a split"):
        split.split_store(root / "store", output=root / "notes.json")
    with pytest.raises(UsageError, match="lies in the packed store"):
        split.split_store(root / "store", output=root / "store" / "mine.json")
    split.split_store(root / "store", output=root / "mine.json", seed=1)
    split.split_store(root / "store", output=root / "mine.json", seed=2)
    assert read_split(open_store(root / "store", split_file=root / "mine.json")).seed == 2


def test_a_file_of_another_store_is_refused(root: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder, tmp_path / "with-groups", workers=1)
    split.split_store(tmp_path / "with-groups", output=root / "theirs.json")
    with pytest.raises(StoreError, match="found a split of store"):
        read_split(open_store(root / "store", split_file=root / "theirs.json"))


def test_the_next_command_is_one_that_can_be_given(root: Path) -> None:
    outcome = CliRunner().invoke(app, ["split", str(root / "store"), "-o", str(root / "mine.json")])
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("next: "))
    words = shlex.split(line)[2:]
    assert words[words.index("--split-file") + 1] == str(root / "mine.json")
    command = app.get_command(click.Context(app), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])  # an option that is none would be refused


def test_another_split_than_the_runs_own_is_refused_unless_named(root: Path) -> None:
    _train(root, "run")
    split.split_store(root / "store", kind="random", seed=8)
    with pytest.raises(CheckpointError, match="is not the split"):
        evaluate.evaluate_run(root / "run", resolve("cpu"))


@pytest.fixture
def read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store, not divided, that nothing can be written to: tests may run as a user whom no permission stops."""
    (root / "store" / "split.json").unlink()
    opened, access = os.open, os.access

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT and Path(os.fsdecode(path)).parent == root / "store":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *rest, **named)

    def may(path: Any, mode: int, **named: Any) -> bool:
        return (Path(path) != root / "store" or not mode & os.W_OK) and access(path, mode, **named)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "access", may)
    return root


def test_a_read_only_store_is_divided_elsewhere_and_trained_on(read_only: Path) -> None:
    store = read_only / "store"
    assert "-o store-split.json and give that file as --split-file" in _error("train", store, "-o", read_only / "r")
    message = _error("split", store)
    assert "the file system is read-only" in message
    assert "-o" in message
    _invoke("split", store, "-o", read_only / "split.json")
    assert _train(read_only, "run", "--split-file", read_only / "split.json")["status"] == "finished"
    assert _invoke("evaluate", read_only / "run")["num_patches"] > 0
    assert not (store / "split.json").exists()


@pytest.mark.slow
def test_a_store_on_a_read_only_file_system_is_divided_elsewhere_and_trained_on(root: Path) -> None:
    """As above, and of the kernel: the store is mounted read-only where a user may mount."""
    (root / "store" / "split.json").unlink()
    mount = "mount --bind store store && mount -o remount,bind,ro store"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "sh", "-c", mount], cwd=root).returncode:
        pytest.skip("nothing can be mounted here")
    fastpath = f"{sys.executable} -m fastpath"
    script = f"""
        {mount} && ! touch store/x && ! {fastpath} split store && {fastpath} split store -o mine.json -q &&
        {fastpath} train store -o run --config tiny.toml --split-file mine.json --device cpu -q &&
        {fastpath} evaluate run --device cpu -q
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the file system is read-only; write it to a file with -o" in done.stderr
    assert "Traceback" not in done.stderr
