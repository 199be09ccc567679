"""Nothing of the user's is markup or a terminal escape, whatever a command shows of it."""

from __future__ import annotations

import importlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from click.testing import CliRunner
from rich.console import Console

from fastpath.cli import render
from fastpath.cli.main import app
from fastpath.text import visible

NAMES = ["a[/b]", "[red]x[/red]", "\x1b[31mred\x9b0m", "two\nlines\r", ":warning:", "[link=file]x[/link]", "[/]"]
SCORES = {
    "confusion": {"false_positive": 1, "false_negative": 2},
    "intervals": {},
    "resampling": {"unit": "slides", "optimistic": False},
}
SHOWN = ("num_patches", "num_positive", "num_slides", "accuracy", "threshold")
AGREEMENT = {
    name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("observed_over_expected", "calibration_intercept")
}
CALIBRATION = {"method": "platt", "methods": {"platt": {"intervals": AGREEMENT}}}

# Command, arguments, and the workflow that is stood in for.
COMMANDS = [
    (["audit", "X", "-o", "X"], "audit.audit_split"),
    (["bench", "train", "X"], "bench.bench.run_benchmark"),
    (["compare", "X", "X"], "compare.compare.compare_runs"),
    (["compare", "--splits", "random,group", "X", "-o", "X"], "compare.leak.measure_leak"),
    (["demo", "-o", "X"], "demo.run_demo"),
    (["doctor"], "doctor.examine_machine"),
    (["evaluate", "X"], "evaluate.evaluate.evaluate_run"),
    (["explain", "X", "-o", "X"], "explain.explain.explain_run"),
    (["export", "X", "-o", "X"], "export.export.export_run"),
    (["inspect", "X"], "inspect.inspect.inspect_store"),
    (["merge", "X", "-o", "X"], "merge.merge_stores"),
    (["mine", "X", "-o", "X"], "mine.mine.mine_patches"),
    (["pack", "X", "-o", "X"], "pack.pack_source"),
    (["predict", "X", "--store", "X", "-o", "X"], "predict.predict.predict_patches"),
    (["repair", "X", "--source", "X"], "repair.repair_store"),
    (["show", "X", "--ids", "X", "-o", "X"], "show.show.patches"),
    (["slide", "X", "X", "-o", "X"], "slide.slide.score_slide"),
    (["slide", "--table", "X", "-o", "X"], "slide.slide_table.aggregate_table"),
    (["slide", "--pool", "X", "-o", "X"], "slide.slide_pool.pool_slides"),
    (["split", "X"], "split.split_store"),
    (["sweep", "X", "-o", "X", "--grid", "optim.weight_decay=0,1"], "sweep.sweep.sweep_settings"),
    (["train", "X", "-o", "X"], "train.train.train_run"),
    (["train", "X", "-o", "X", "--folds", "2"], "train.folds.train_folds"),
    (["verify", "X"], "verify.verify.verify_store"),
]


def made(kind: Any, name: str, field: str = "") -> Any:
    """Return a value of a type with `name` wherever it holds text, and every number a half or one."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{part.name: made(hints[part.name], name, part.name) for part in fields(kind)})
    if origin in (Union, UnionType):
        return made(next(part for part in inner if part is not NoneType), name, field)
    if origin in (list, tuple):
        return origin(made(part, name, field) for part in inner if part is not Ellipsis)
    if origin in (dict, Mapping):
        return given(name).get(field) or {made(inner[0], name): made(inner[1], name)}
    if origin is Literal:
        return inner[0]
    simple: dict[Any, Any] = {str: name, int: 1, float: 0.5, bool: True, Path: Path(name), Any: name, bytes: b""}
    return simple[kind] if kind in simple else next(iter(kind))


def given(name: str) -> dict[str, Any]:
    """Return what dictionaries hold of which the command takes certain keys, by the field they are in."""
    return {
        "class_counts": {"0": 1, "1": 2, "unlabelled": 3},
        "facts": SCORES | dict.fromkeys(SHOWN, 1) | {"calibration": CALIBRATION, "parts": {"held": {"num_patches": 1}}},
        "shown": {"id": name, "label": name, "row": 1},
        "pairs": {"first": name, "second": name, "difference": 0.5, "p_corrected": 0.5, "verdict": "better"},
    }


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Return what replaces a workflow by one whose result is full of a name."""

    monkeypatch.setattr("fastpath.cli.inputs.check_inputs", lambda *_: None)  # nothing that is named exists

    def replace(target: str, name: str) -> Any:
        module_name, _, function = target.rpartition(".")
        module = importlib.import_module(f"fastpath.workflows.{module_name}")
        hints = get_type_hints(getattr(module, function), vars(module) | _types())
        value = made(hints["return"], name)
        monkeypatch.setattr(module, function, lambda *_, **__: value)
        if module_name == "predict.predict":
            monkeypatch.setattr(module, "check_runs", lambda *_: [])
            monkeypatch.setattr(module, "open_patches", lambda *_: None)
        return value

    return replace


def _types() -> dict[str, Any]:
    return {"Path": Path, "Any": Any, "Mapping": Mapping}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize(
    ("arguments", "target"), COMMANDS, ids=lambda argument: argument if isinstance(argument, str) else ""
)
def test_a_command_shows_names_as_they_are(
    arguments: list[str], target: str, name: str, stand_in: Callable[[str, str], Any]
) -> None:
    stand_in(target, name)
    words = [name if word == "X" else word for word in arguments]
    done = CliRunner().invoke(app, words)
    assert done.exit_code in (0, 1), done.output  # 1: a stand-in's damages and failures
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.stdout
    assert "\x1b" not in done.output
    assert "\x9b" not in done.output
    assert "\r" not in done.output
    if target != "bench.bench.run_benchmark":  # which shows no path
        assert visible(name) in done.output


@pytest.mark.parametrize(
    ("arguments", "target"), COMMANDS, ids=lambda argument: argument if isinstance(argument, str) else ""
)
def test_quiet_shows_warnings_and_errors_alone_and_verbose_more(
    arguments: list[str], target: str, stand_in: Callable[[str, str], Any]
) -> None:
    stand_in(target, "X")
    plain, quiet, verbose = (CliRunner().invoke(app, [*arguments, *more]) for more in ((), ("-q",), ("-v",)))
    warnings = [line for line in plain.stderr.splitlines() if line.startswith(("note: ", "caution: ", "damaged: "))]
    assert quiet.stderr.splitlines() == warnings
    assert quiet.stdout == "" or arguments == ["doctor"]  # which leaves out what is in order
    assert plain.exit_code == quiet.exit_code == verbose.exit_code
    assert re.search(rf"^{arguments[0]}: \d+\.\d s$", verbose.stderr, re.MULTILINE)
    assert not re.search(r": \d+\.\d s$", plain.stderr, re.MULTILINE)
    assert set(plain.stderr.splitlines()) <= set(verbose.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "target"), COMMANDS, ids=lambda argument: argument if isinstance(argument, str) else ""
)
def test_as_json_names_are_as_they_are(arguments: list[str], target: str, stand_in: Callable[[str, str], Any]) -> None:
    name = "a[/b]\x1b[31m\n"
    stand_in(target, name)
    words = [name if word == "X" else word for word in arguments]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code in (0, 1), done.output
    json.loads(done.stdout)
    assert "\x1b" not in done.output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_bar_shows_names_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    console = Console(file=stream, force_terminal=True, markup=False, highlight=False, width=200, color_system=None)
    monkeypatch.setattr(render, "stderr", console)
    with render.progress_bar(name, 0) as advance:
        advance(1, 2)
    assert visible(name) in stream.getvalue()
    assert name == visible(name) or name not in stream.getvalue()


def test_a_bar_is_shown_on_no_pipe_that_is_told_to_have_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of what a kernel of Jupyter starts."""
    stream = io.StringIO()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(render, "stderr", Console(file=stream, width=200))
    assert render.stderr.is_terminal
    with render.progress_bar("patches", 0) as advance:
        advance(1, 2)
    assert stream.getvalue() == ""


def test_consoles_are_made_in_one_place() -> None:
    root = Path(render.__file__).parent.parent
    makers = {path.name for path in root.rglob("*.py") if "Console(" in path.read_text(encoding="utf-8")}
    assert makers == {"render.py"}
