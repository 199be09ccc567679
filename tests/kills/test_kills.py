"""Every command that writes is killed at its operations on files: the old or the new, whole, and nothing left over."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.dali]
HERE = Path(__file__).resolve().parent


def load(name: str) -> Any:
    """Import a module that lies here, where the nursery finds it by name alone."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # of which dataclasses ask
    spec.loader.exec_module(module)
    return module


COMMANDS = load("commands").COMMANDS
READY = [name for name, command in COMMANDS.items() if command.ready]


def killed(folder: Path, *names: str, every: int = 1, first: int = 0) -> int:
    """Kill commands, see that all was as it should be, and return how often they were killed."""
    command = [sys.executable, HERE / "nursery.py", folder, *names, "--every", every, "--first", first]
    # One thread from the start: a forked process has none of its parent's others.
    ended = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [each["command"] for each in told] == list(names)
    assert [each for each in told if each["faults"]] == []
    return sum(each["kills"] for each in told)


def test_a_sample_of_moments(tmp_path: Path) -> None:
    quick = [name for name in ("pack", "pack --overwrite", "merge", "split", "repair") if name in READY]
    assert killed(tmp_path, *quick, every=23, first=4) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("name", READY)
def test_every_moment(tmp_path: Path, name: str) -> None:
    assert killed(tmp_path, name, every=5 if COMMANDS[name].slow else 1) >= 10
