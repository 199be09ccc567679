"""A path that is not there, or is no store or run, is refused before torch, DALI and timm are loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fastpath.cli.inputs import check_inputs
from fastpath.cli.main import app
from fastpath.cli.param_types import Recipe, UserPath
from fastpath.errors import FastpathError

# A call of each command in which `?` stands for something to read; other options that read are tried one at a time.
CALLS = {
    "audit": "? -o new",
    "bench": "loader ? ",
    "compare": "? ? -o new",
    "embed": "? -o new --model resnet18",
    "evaluate": "?",
    "explain": "? -o new",
    "export": "? -o new.pt2",
    "inspect": "?",
    "merge": "? ? -o new",
    "mine": "? -o new.csv",
    "pack": "? -o new",
    "predict": "? -o new.csv",
    "probe": "? -o new",
    "repair": "? --source ?",
    "show": "? --ids a -o new",
    "slide": "? ? -o new",
    "split": "?",
    "sweep": "? -o new --grid seed=1,2",
    "train": "? -o new",
    "verify": "?",
}
NO_INPUT = {"config", "demo", "doctor", "models"}  # beside a recipe, which is looked for like an option's value
IN_PLACE = {"verify", "repair"}  # say what is wrong with a store, whatever it is

PROBE = """
import contextlib, io, json, sys
from click.testing import CliRunner
from fastpath.cli.main import app

answers = []
for words in json.loads(sys.argv[1]):
    outcome = CliRunner().invoke(app, words)
    loaded = [name for name in ("torch", "timm", "nvidia.dali") if name in sys.modules]
    answers.append((words, type(outcome.exception).__name__, str(outcome.exception), loaded))
    if loaded:
        break  # what comes after is loaded already
print(json.dumps(answers))
"""


def reading(name: str) -> list[click.Option]:
    """Return the options of a command that take a path to read."""
    command = app.get_command(click.Context(app), name)
    assert command is not None
    return [
        option
        for option in command.params
        if isinstance(option, click.Option) and isinstance(option.type, UserPath) and option.type.reads
    ]


def cases(place: Path) -> list[list[str]]:
    """Return calls in each of which one path is wrong."""
    there = {"store": str(place / "store"), "run": str(place / "run")}
    made = []
    for name, call in CALLS.items():
        words = [name, *call.split()]
        is_store = name in ("audit", "bench", "embed", "inspect", "merge", "repair", "show", "split", "sweep", "train")
        good = there["store"] if is_store or name == "verify" else there["run"]
        if name == "probe":
            good = str(place / "folder" / "notes.txt")  # what is within a file is looked at later
        made.append([str(place / "gone") if word == "?" else word for word in words])
        if name not in {"pack", "probe", *IN_PLACE}:
            made.append([str(place / "folder") if word == "?" else word for word in words])
        filled = [good if word == "?" else word for word in words]
        made += [[*_without(filled, option), option.opts[-1], str(place / "gone")] for option in reading(name)]
    made.append(["compare", "--splits", "random,group", str(place / "gone"), "-o", "new"])
    made.append(["embed", there["store"], "-o", "new", "--model", f"local-dir:{place / 'gone'}"])
    made += [[*call, "--config", str(place / "gone")] for call in (["train", there["store"], "-o", "new"],)]
    made.append(["slide", "--table", str(place / "gone"), "-o", "new"])
    return made


def _without(words: list[str], option: click.Option) -> list[str]:
    at = next((number for number, word in enumerate(words) if word in option.opts), None)
    return words if at is None else words[:at] + words[at + 2 :]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a store, something that looks like a run, and a folder that is neither."""
    import numpy as np
    from PIL import Image

    from fastpath.workflows.pack import pack_source

    monkeypatch.chdir(tmp_path)
    for name in ("folder", "run", "patches"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("of somebody")
    (tmp_path / "run" / "config.json").write_text("{}")
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / "patches" / f"{number}.png")
    pack_source(tmp_path / "patches", tmp_path / "store", workers=1)
    return tmp_path


def test_every_command_that_reads_is_in_the_table() -> None:
    assert set(CALLS) | NO_INPUT == set(app.list_commands(click.Context(app)))
    for name in NO_INPUT - {"demo"}:
        assert not reading(name)


def test_nothing_large_is_loaded_before_a_path_is_refused(place: Path) -> None:
    calls = cases(place)
    assert len(calls) > 60
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(calls)], capture_output=True, text=True, check=False, cwd=place
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for words, kind, message, loaded in answers:
        assert not loaded, words
        assert kind.endswith("Error"), (words, kind)
        assert "gone" in message or "folder" in message, (words, message)
    assert len(answers) == len(calls)
    assert {path.name for path in place.iterdir()} == {"folder", "patches", "run", "store"}


@pytest.mark.parametrize(
    ("command", "given", "refused"),
    [
        ("evaluate", {"run": Path("best.pt")}, False),
        ("evaluate", {"run": Path("table.csv")}, False),
        ("evaluate", {"run": Path("run")}, False),
        ("evaluate", {"run": Path("patches")}, True),
        ("train", {"store": Path("run")}, True),
        ("verify", {"store": Path("run")}, False),
        ("train", {"store": Path("s3:/bucket/store")}, False),
        ("slide", {"lesions": Path("none")}, False),
        ("slide", {"lesions": Path("gone")}, True),
        ("slide", {"images": (Path("best.pt"), Path("gone"))}, True),
        ("mine", {"stores": ()}, False),
        ("compare", {"runs": (Path("store"),), "splits": "random,group"}, False),
        ("compare", {"runs": (Path("store"),), "splits": None}, True),
        ("predict", {"sample": None}, False),
    ],
)
def test_what_is_there_is_left_to_the_workflow(
    command: str, given: dict[str, object], refused: bool, place: Path
) -> None:
    for name in ("best.pt", "table.csv"):
        (place / name).write_text("")
    if refused:
        with pytest.raises(FastpathError):
            check_inputs(command, given, [name for name in given if name != "splits"])
    else:
        check_inputs(command, given, [name for name in given if name != "splits"])


def test_a_recipe_is_not_looked_for_among_paths() -> None:
    assert Recipe().reads is False
