"""The map holds: rooms are small, workflows are the commands, and tests lie where what they test lies."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from fastpath.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, TESTS = ROOT / "fastpath", ROOT / "tests"
ELSEWHERE = {"benchmarks", "docs", "e2e", "gpu", "kills", "stand_in", "tools", "writers"}
"""Folders of tests that look at more than one module, or at what is no part of the package."""
MODULES_MAX = 24


def modules(folder: Path) -> set[str]:
    """Return the modules and packages of a package by name."""
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in folder.glob("*/__init__.py")}


def test_workflows_are_the_commands() -> None:
    assert (
        modules(PACKAGE / "workflows")
        == modules(PACKAGE / "cli" / "commands")
        == set(app.list_commands(click.Context(app)))
    )


@pytest.mark.parametrize("folder", sorted({path.parent for path in PACKAGE.rglob("*.py")}), ids=str)
def test_no_folder_is_too_large_to_overlook(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) - 1 <= MODULES_MAX  # but __init__
    assert (folder / "__init__.py").is_file()


def test_tests_mirror_the_package() -> None:
    for path in TESTS.rglob("test_*.py"):
        folder, subject = path.parent.relative_to(TESTS), path.stem.removeprefix("test_")
        if folder.parts[:1] and folder.parts[0] in ELSEWHERE:
            continue
        names = modules(PACKAGE / folder) | {(PACKAGE / folder).name}  # a test may be of all of a package
        fitting = [name for name in names if subject == name or subject.startswith(f"{name}_")]
        assert fitting, f"{path.relative_to(ROOT)} is named after no module of fastpath/{folder}"
