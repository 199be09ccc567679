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
    attempts = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [each["command"] for each in attempts] == list(names)
    assert [each for each in attempts if each["faults"]] == []
    return sum(each["kills"] for each in attempts)


def test_a_sample_of_moments(tmp_path: Path) -> None:
    quick = [name for name in ("pack", "pack --overwrite", "merge", "split", "repair") if name in READY]
    assert killed(tmp_path, *quick, every=23, first=4) >= 10


# Commands that are not safe, in place of fastpath's: the harness must see it.
UNSAFE = """
import json, os, sys
from pathlib import Path
import nursery
from commands import Command

def in_place(_):
    for name in ("closing", "other"):
        with open(f"work/{name}", "wb") as file:
            file.write(b"something new")
    return 0

def littering(_):
    Path("work/temporary").write_bytes(b"something new")
    os.rename("work/temporary", "work/closing")
    Path(f"work/{os.getpid()}.tmp").write_bytes(b"")
    os.unlink(f"work/{os.getpid()}.tmp")
    return 0

def reading(_):
    if Path("work/other").read_bytes() == b"old":
        Path("work/other").unlink()
        return in_place(_)
    return 1

nursery.PREPARE["!old"] = lambda path: path.write_bytes(b"old")
os.chdir(sys.argv[1])
start = (("!old", "work/closing"), ("!old", "work/other"))
told = {}
files = {"in_place": ("work/closing", "work/other"), "littering": ("work/closing",), "reading": ()}
for call in (in_place, littering, reading):
    nursery._call = call
    command = Command((), start=start, files=files[call.__name__], closing="work/closing")
    attempts = nursery.Attempts(Path.cwd(), command)
    told[call.__name__] = [attempts.kill(point) for point in attempts.points()]
print(json.dumps(told))
"""


def test_the_harness_sees_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", UNSAFE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )
    assert ended.returncode == 0, ended.stderr
    faults = json.loads(ended.stdout)
    assert "left ['work/closing'] neither old nor new" in faults["in_place"]  # emptied, or half of it written
    assert any("beside files of another set" in fault for fault in faults["in_place"])
    assert any("behind" in fault for fault in faults["littering"])
    assert any("cannot be run again" in fault for fault in faults["reading"])


@pytest.mark.slow
@pytest.mark.parametrize("name", READY)
def test_every_moment(tmp_path: Path, name: str) -> None:
    # predict writes one file, so it has few operations.
    assert killed(tmp_path, name, every=3 if COMMANDS[name].slow else 1) > 1
