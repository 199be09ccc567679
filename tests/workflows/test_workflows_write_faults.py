"""What file systems refuse while a command writes: one line, and what was there before is still there.

Full disks, quotas, read-only mounts and permissions are made to happen below the output alone. What a command computes
is computed once; it is what happens afterwards that is tried.
"""

from __future__ import annotations

import errno
import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_encoder
import torch
from _pytest.mark import ParameterSet
from click.testing import CliRunner
from PIL import Image

from fastpath import config
from fastpath.cli.main import app
from fastpath.errors import FastpathError
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.system import run_log
from fastpath.system.files import as_failure
from fastpath.workflows import audit, embed
from fastpath.workflows.compare import compare, comparison_files
from fastpath.workflows.evaluate import evaluate, report_gallery, report_pictures
from fastpath.workflows.explain import explain
from fastpath.workflows.export import export
from fastpath.workflows.inspect import inspect
from fastpath.workflows.mine import mine, similar
from fastpath.workflows.predict import predict
from fastpath.workflows.show import show
from fastpath.workflows.slide import slide, slide_files, slide_progress
from fastpath.workflows.train import train

OF_TIMM = {  # a network that timm knows by name
    "data": {"image_size_px": 32, "batch_size": 16, "limit": 32, "val_limit": 16, "sampling": "natural"},
    "model": {"name": "test_resnet", "pretrained": False, "trainable": "all"},
    "train": {"epochs": 1},
}

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

faults = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("faults.py"))))
CASES = faults.FULL | faults.READ_ONLY | faults.NO_PERMISSION

# What takes long, and gives the same every time.
SLOW = (
    *((evaluate, name) for name in ("open_run", "evaluate_scores", "score_views")),
    *((explain, name) for name in ("open_run", "all_logits", "explain_rows", "untrained_masses", "sheet")),
    *((inspect, name) for name in ("_pictures", "_stains", "_facts")),
    (inspect.eda, "survey"),
    *((export, name) for name in ("open_run", "_proven")),
    *((predict, name) for name in ("open_run", "score_views")),
    *((slide, name) for name in ("open_run", "portions")),
    (slide_files, "heatmap"),
    *((mine, name) for name in ("open_run", "score")),
    *(
        (similar, "similar_rows"),
        (audit, "_pairs"),
        (compare, "compare_scores"),
        (comparison_files.run_comparison, "draw_comparison"),
        (report_gallery, "make"),
    ),
    *((report_pictures, "draw_report"), (show.patch_figures, "contact_sheet")),
)
_COMPUTED: dict[str, Any] = {}
_WRITTEN: dict[str, Path] = {}


@pytest.fixture
def computed_once(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let each of `SLOW` compute once for each command."""
    callspec = getattr(request.node, "callspec", None)
    command = callspec.params["command"] if callspec else request.node.name

    def remembering(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def remembered(*arguments: Any, **named: Any) -> Any:
            if name not in _COMPUTED:
                result = plain(*arguments, **named)
                _COMPUTED[name] = list(result) if isinstance(result, Iterator) else result
            return _COMPUTED[name]

        return remembered

    for module, name in SLOW:
        monkeypatch.setattr(module, name, remembering(f"{command} {module.__name__}.{name}", getattr(module, name)))


@pytest.fixture(scope="module")
def given(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands read: a run, its store, an id of it, tables, a slide and a folder of scored ones."""
    folder, store = tmp_path_factory.mktemp("given"), learned.parent / "store"
    rng = np.random.default_rng(5)
    for name in ("a", "b"):
        frame = pd.DataFrame({"id": range(40), "group": [f"s{row % 8}" for row in range(40)], "label": [0, 1] * 20})
        frame["logit"] = frame["label"] + rng.normal(size=40)
        frame["probability"] = 1 / (1 + np.exp(-frame["logit"]))
        frame.to_csv(folder / f"{name}.csv", index=False)
    Image.fromarray(rng.integers(60, 200, (200, 220, 3), dtype=np.uint8)).save(folder / "slide.png")
    shutil.copy(folder / "slide.png", folder / "other.png")
    (folder / "scored" / "one").mkdir(parents=True)
    (folder / "scored" / "one" / "slide.json").write_text(
        '{"tile_px": 96, "stride_px": 32, "calibration": "none", "scores": {"max": 1, "mean": 1, "top_k": 1},'
        ' "lesions": {"num_lesions": 1, "lesion_scores": [0.9], "false_alarms": []}}'
    )
    encoder = tiny_encoder.write_encoder(folder / "vit")
    embed.embed_store(store, folder / "features", encoder, resolve("cpu"))
    paths = {
        name: str(folder / name) for name in ("a.csv", "b.csv", "slide.png", "other.png", "scored", "vit", "features")
    }
    train.train_run(store, folder / "small", config.parse(OF_TIMM), resolve("cpu"))
    # Copies: other tests evaluate the run that they share, and a calibration left in it would be read here.
    for name in ("run", "judged"):
        shutil.copytree(learned, folder / name)
    replacements = {"run": str(folder / "run"), "store": str(store), "id": str(open_store(store).ids_N[0]), **paths}
    return replacements | {name: str(folder / name) for name in ("judged", "small")}


COMMANDS: dict[str, Sequence[str]] = {  # names of `given` in braces; {out} is a directory
    "audit": ("{store}", "-o", "{out}"),
    "compare": ("{a.csv}", "{b.csv}", "-o", "{out}"),
    "embed": ("{store}", "-o", "{out}", "--model", "local-dir:{vit}"),
    "evaluate": ("{judged}", "-o", "{out}"),
    "explain": ("{run}", "--ids", "{id}", "--no-audit", "-o", "{out}"),
    "export": ("{run}", "--check", "0", "-o", "{out}/model.ts"),
    "export weights": ("{run}", "--check", "0", "-o", "{out}/model.safetensors"),
    "export timm": ("{small}", "--check", "0", "-o", "{out}", "--format", "timm"),
    "inspect": ("{store}", "-o", "{out}"),
    "mine": ("{run}", "-o", "{out}/mined.parquet"),
    "predict": ("{run}", "--store", "{store}", "-o", "{out}/a.csv", "--table", "{out}/b.parquet"),
    "probe": ("{features}", "-o", "{out}"),
    "show": ("{store}", "--ids", "{id}", "-o", "{out}"),
    "slide": ("{run}", "{slide.png}", "--mpp", "0.5", "-o", "{out}"),
    "split": ("{store}", "-o", "{out}/mine.json"),
    "slide of several": ("{run}", "{slide.png}", "{other.png}", "--mpp", "0.5", "-o", "{out}"),
    "slide --table": ("--table", "{a.csv}", "-o", "{out}"),
    "slide --pool": ("--pool", "{scored}", "-o", "{out}"),
}


CACHED = ("embed",)
"""Commands that leave what is there as it is, where it is of the same origin: they write nothing over an old output."""


def _run(command: str, given: dict[str, str], out: Path) -> BaseException | None:
    if command in ("slide", "slide of several"):
        pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")
    words = [
        next(
            (
                word.replace(f"{{{name}}}", value)
                for name, value in (given | {"out": str(out)}).items()
                if f"{{{name}}}" in word
            ),
            word,
        )
        for word in COMMANDS[command]
    ]
    result = CliRunner().invoke(app, [command.split()[0], *words, "-q"])
    assert (result.exception is None) == (result.exit_code == 0)
    return result.exception


def _written(command: str, given: dict[str, str], factory: pytest.TempPathFactory) -> Path:
    """Return what the command leaves where nothing goes wrong."""
    if command not in _WRITTEN:
        out = factory.mktemp("good") / "out"
        assert _run(command, given, out) is None
        _WRITTEN[command] = out
    return _WRITTEN[command]


def _tree(out: Path) -> dict[str, bytes]:
    """What lies there, but for the log and what a slide's scoring goes on from."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in (run_log.NAME, slide_progress.NAME)
    }


def _check_refusal(error: BaseException | None, out: Path, code: int) -> None:
    assert isinstance(error, FastpathError), repr(error)
    assert error.exit_status in (1, 2)
    cause = as_failure(out, OSError(code, "")).problem.removeprefix("cannot be written: ")
    assert cause in str(error)
    assert str(out) in error.location
    assert error.remedy
    assert "\n" not in str(error)
    assert ".tmp" not in str(error)


def _pairs() -> list[ParameterSet]:
    """Every command with every fault; beside a full disk, a third of them in the fast suite."""
    pairs = []
    for row, command in enumerate(name for name in COMMANDS if name not in CACHED):
        for column, fault in enumerate(CASES):
            fast = fault == "ENOSPC at the first byte" or (row + column) % 3 == 0
            pairs.append(pytest.param(command, fault, marks=() if fast else pytest.mark.slow))
    return pairs


@pytest.mark.usefixtures("computed_once")
@pytest.mark.parametrize(("command", "fault"), _pairs())
def test_what_cannot_be_written_is_one_line_and_the_old_output_is_whole(
    command: str,
    fault: str,
    given: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    out, (happens, code) = tmp_path / "out", CASES[fault]
    shutil.copytree(_written(command, given, tmp_path_factory), out)
    before = _tree(out)
    assert before
    with happens(out, monkeypatch):
        error = _run(command, given, out)
    _check_refusal(error, out, code)
    assert _tree(out) == before


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.usefixtures("computed_once")
@pytest.mark.parametrize("command", COMMANDS)
def test_after_a_full_disk_the_same_again_writes_the_same(
    command: str,
    given: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with faults.full(errno.ENOSPC, 40)(tmp_path, monkeypatch):
        assert _run(command, given, tmp_path / "out") is not None
    assert _run(command, given, tmp_path / "out") is None
    good = _written(command, given, tmp_path_factory)
    if command == "export":  # what a process has traced before tells in the names within TorchScript, and in its hash
        first, second = (torch.jit.load(str(out / "model.ts")).state_dict() for out in (tmp_path / "out", good))
        assert set(_tree(tmp_path / "out")) == set(_tree(good))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    else:
        assert _tree(tmp_path / "out") == _tree(good)
    assert not (tmp_path / "out" / slide_progress.NAME).exists()


@pytest.mark.usefixtures("computed_once")
@pytest.mark.parametrize("fault", ["EROFS", "mode 0555"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_begun_leaves_nothing(
    command: str, fault: str, given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, (happens, code) = tmp_path / "new" / "out", CASES[fault]
    with happens(tmp_path, monkeypatch):
        error = _run(command, given, out)
    _check_refusal(error, tmp_path, code)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != slide_progress.NAME]


@pytest.mark.usefixtures("computed_once")
def test_a_run_for_reading_only_is_evaluated_and_told_that_its_calibration_is_not_kept(
    given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.refused(errno.EROFS)(Path(given["run"]), monkeypatch):
        result = CliRunner().invoke(app, ["evaluate", given["run"], "-o", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert "the calibration is not kept" in json.loads(result.stdout)["notices"][-1]
    assert (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.usefixtures("computed_once")
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "mine"])  # a mined table names its store
def test_nothing_that_is_written_names_a_directory_of_this_machine(
    command: str, given: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = _written(command, given, tmp_path_factory)
    places = {str(out), given["run"], given["store"], str(Path(given["a.csv"]).parent), sys.prefix, str(Path.home())}
    for name, content in _tree(out).items():
        for place in places - {"/"}:
            assert f"{place}/".encode() not in content, name
            assert place.encode() not in content or place == str(Path.home()), name
