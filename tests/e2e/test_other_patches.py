"""Every command that takes a run and a store refuses patches of another size: they show another scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.errors import DataError
from fastpath.workflows import pack

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

COMMANDS: dict[str, Sequence[str]] = {
    "audit": ("{store}", "--run", "{run}", "-o", "{out}"),
    "evaluate": ("{run}", "--store", "{store}", "-o", "{out}"),
    "evaluate --tta": ("{run}", "--store", "{store}", "--tta", "d4", "-o", "{out}"),
    "explain": ("{run}", "--store", "{store}", "-o", "{out}"),
    "explain --ids": ("{run}", "--store", "{store}", "--ids", "{id}", "--no-audit", "-o", "{out}"),
    "export": ("{run}", "--store", "{store}", "-o", "{out}/model.ts"),
    "mine": ("{run}", "--store", "{store}", "-o", "{out}/mined.csv"),
    "predict": ("{run}", "--store", "{store}", "-o", "{out}/submission.csv"),
}


@pytest.fixture(scope="module")
def other(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "store"
    pack.pack_source(kaggle_folder, path, workers=1, options=pack.PackOptions(resize_px=48))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_patches_of_another_size_are_refused_before_anything_is_written(
    learned: Path, other: Path, kaggle_folder: Path, tmp_path: Path, command: str
) -> None:
    out, name = tmp_path / "out", min(path.stem for path in (kaggle_folder / "train").iterdir())
    words = {"run": learned, "store": other, "out": out, "id": name}
    arguments = [word.format_map(words) for word in COMMANDS[command]]
    result = CliRunner().invoke(app, [command.split()[0], *arguments])
    assert isinstance(result.exception, DataError), result.output
    assert "found patches of 48 px, wanted 96 px as the run was trained on" in str(result.exception)
    assert not out.exists()
