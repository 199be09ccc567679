"""Each command ends with the file to open and the command that comes next, and that one runs as it is printed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_encoder
from click.testing import CliRunner, Result
from tiny_recipe import tiny_recipe

from fastpath.cli import following
from fastpath.cli.main import app
from fastpath.ingest.synth import write_kaggle_folder

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

RECIPE = tiny_recipe(1)
TINY = ("--config", "recipe.toml", "--device", "cpu")  # the defaults' network would be fetched
GRID = ("--grid", "optim.lr_head=0.001,0.01")
SINGLE = ("runs/first", "runs/second")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with patches and a recipe."""
    monkeypatch.chdir(tmp_path)
    write_kaggle_folder(tmp_path / "source", num_train=96, num_test=8, num_slides=6, seed=1)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def fastpath(words: Sequence[str]) -> Result:
    outcome = CliRunner().invoke(app, list(words))
    assert outcome.exit_code == 0, (words, outcome.output, outcome.exception)
    return outcome


def next_of(outcome: Result) -> list[str]:
    """Return the words of the command that a command names as the next; none where it names none."""
    lines = [line.removeprefix("next: ") for line in outcome.stderr.splitlines() if line.startswith("next: ")]
    assert len(lines) <= 1
    program, *words = shlex.split(lines[0]) if lines else ["fastpath"]
    assert program == "fastpath"
    return words


def follow(words: Sequence[str], steps: int) -> list[str]:
    """Run a command and those that each names as the next; return their names, and at most so many."""
    names = []
    current = list(words)
    while current and len(names) < steps:
        names.append(current[0])
        tiny = TINY if current[0] == "train" and "--config" not in current else ()
        outcome = fastpath([*current, *tiny])
        shown = [line.removeprefix("→ ") for line in outcome.stdout.splitlines() if line.startswith("→ ")]
        assert len(shown) == 1
        assert Path(shown[0]).exists()
        current = next_of(outcome)
    return names


@pytest.mark.usefixtures("place")
def test_from_a_folder_to_a_model_by_what_each_command_names() -> None:
    assert follow(["pack", "source", "-o", "store"], 1) == ["pack"]
    road = ["split", "store", "--kind", "random", "--val", "0.3", "-o", "mine.json"]
    assert follow(road, 9) == ["split", "train", "evaluate", "explain", "export"]
    assert {path.name for path in Path("runs/first").iterdir()} >= {
        "run.log",
        "evaluation-val",
        "explained",
        "model.pt2",
    }
    again = next_of(fastpath(["pack", "source", "-o", "store", "--overwrite"]))
    assert again == ["train", "store", "-o", "runs/first-2", "--amp"]  # the first is there


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("option", ["-q", "--json"])
def test_for_programs_and_the_quiet_there_is_no_such_line(option: str) -> None:
    for words in (["pack", "source", "-o", "store"], ["split", "store"]):
        outcome = fastpath([*words, option])
        assert "next:" not in outcome.output
        assert (outcome.stdout == "") == (option == "-q")


@pytest.mark.slow
def test_off_the_road_too(place: Path) -> None:
    tiny_encoder.write_encoder(place / "vit")
    assert follow(["pack", "source/test", "-o", "unlabelled"], 9) == ["pack", "inspect"]
    fastpath(["pack", "source", "-o", "store"])
    for run, seed in zip(SINGLE, ("1", "2"), strict=True):
        fastpath(["train", "store", "-o", run, "--seed", seed, *TINY])
    embed = ["embed", "store", "-o", "features", "--model", "local-dir:vit", "--device", "cpu"]
    table = ["predict", SINGLE[0], "--store", "store", "-o", "scores.csv", "--table", "scores.parquet"]
    for words, road in (
        (["show", "store", "--epoch", "0", "--position", "0", "-o", "shown", *TINY[:2]], ["show", "inspect", "train"]),
        (["audit", "store", "-o", "audit"], ["audit", "train"]),
        (["merge", "store", "-o", "merged"], ["merge", "train", "evaluate"]),
        (["compare", *SINGLE], ["compare", "evaluate"]),
        (["sweep", "store", "-o", "sweep", *GRID, *TINY], ["sweep", "evaluate"]),
        (["mine", SINGLE[0], "-o", "mined.parquet"], ["mine", "train", "evaluate"]),
        (embed, ["embed", "probe"]),
        (table, ["predict", "evaluate"]),
        (["compare", "--splits", "random,group", "store", "-o", "leak", *TINY], ["compare", "split"]),
        (["split", "store", "--folds", "2"], ["split", "train", "evaluate", "mine", "train"]),
    ):
        assert follow(words, len(road)) == road


@pytest.mark.parametrize(
    ("there", "wanted"), [((), "m.pt2"), (("m.pt2",), "m-2.pt2"), (("m.pt2", "m-2.pt2"), "m-3.pt2")]
)
def test_a_place_that_is_taken_gets_a_number(there: Sequence[str], wanted: str, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).write_text("")
    assert following.free(tmp_path / "m.pt2") == tmp_path / wanted
