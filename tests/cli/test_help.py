"""How commands are found: help that fits 80 columns, and the nearest name where one is mistyped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fastpath.cli.help import COLUMNS, SECTIONS
from fastpath.cli.main import app

COMMANDS = app.list_commands(click.Context(app))
HEAVY = {"torch", "nvidia.dali", "timm", "pandas", "sklearn", "matplotlib"}


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_is_no_error(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == CliRunner().invoke(app, ["--help"]).stdout


def test_every_command_has_one_uncut_line_in_its_section() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=COLUMNS).stdout
    for title in SECTIONS.values():
        assert f"\n{title}:\n" in shown
    lines = shown[shown.index("Start here:\n") :].splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(names) == COMMANDS
    for line in lines:
        assert len(line) <= COLUMNS, line
        assert not line.endswith(("...", "."))


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["evalute", "x"], "Did you mean 'evaluate'?"),
        (["qqqq"], "No such command 'qqqq'."),
        (["train", "s", "-o", "r", "--epoch", "3"], "No such option '--epoch'. Did you mean '--epochs'?"),
        (["train", "s", "-o", "r", "--lr", "3"], "Did you mean --set optim.lr_head=… or optim.lr_trunk=…?"),
        (["train", "s", "-o", "r", "--weight-decay", "3"], "Did you mean --set optim.weight_decay=…?"),
        (["sweep", "s", "-o", "r", "--image-size", "3"], "Did you mean --set data.image_size_px=…?"),
        (["evaluate", "r", "--qqqq"], "No such option '--qqqq'."),
        (["verify", "s", "-Z"], "No such option '-Z'."),
    ],
)
def test_what_is_mistyped_is_told_with_the_nearest(words: list[str], phrase: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert phrase in " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a packed store: paths are looked at before settings are."""
    import numpy as np
    from PIL import Image

    from fastpath.workflows.pack import pack_source

    folder = tmp_path_factory.mktemp("patches")
    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(folder / "a.png")
    pack_source(folder, folder.parent / "store", workers=1)
    return folder.parent / "store"


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (["train", "{store}", "-o", "r", "--set", "optim.lr=1"], "did you mean 'optim.lr_head' or 'optim.lr_trunk'?"),
        (["train", "{store}", "-o", "r", "--config", "fast_lit0"], "did you mean 'fast_lite0'?"),
        (["train", "nowhere", "-o", "r"], "nowhere: found nothing, wanted the directory of a packed store"),
        (["bench", "loader", "{store}", "--set", "sede=1"], "did you mean 'seed'?"),
        (["sweep", "{store}", "-o", "s", "--grid", "optim.lr=1,2"], "did you mean 'optim.lr_head'"),
        (["evaluate", "nowhere"], "nowhere: found nothing, wanted the directory of a run"),
        (["explain", "nowhere", "-o", "e"], "nowhere: found nothing, wanted the directory of a run"),
        (["verify", "nowhere"], "nowhere: found nothing, wanted the directory of a packed store"),
    ],
)
def test_what_is_wrong_is_told_before_anything_large_is_imported(
    words: list[str], phrase: str, store: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\nfrom fastpath.cli.main import main\n"
        "try:\n    main()\n"
        f"except SystemExit as ended:\n    print(ended.code, sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    words = [word.format(store=store) for word in words]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path
    )
    assert done.stdout == "2 []\n", done.stderr
    assert phrase in done.stderr
    assert done.stderr.count("\n") == 1
