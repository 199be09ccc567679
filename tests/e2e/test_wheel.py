"""The built wheel, installed into an environment of its own, does without the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from fastpath import __version__

ROOT = Path(__file__).resolve().parents[2]


def run(*words: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_in_an_environment_of_its_own(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path / "built", ROOT, cwd=tmp_path)
    (wheel,) = (tmp_path / "built").iterdir()
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("fastpath/")}
    listed = run("git", "-C", ROOT, "ls-files", "fastpath", cwd=tmp_path).split()
    assert packed == set(listed)  # templates, recipes and py.typed too, and nothing else
    run(sys.executable, "-m", "venv", tmp_path / "own", cwd=tmp_path)
    python = tmp_path / "own" / "bin" / "python"
    # What fastpath needs is read from where the suite has it: gigabytes that are not downloaded again.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(site) / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    place = run(python, "-c", "import fastpath; print(fastpath.__file__, fastpath.__version__)", cwd=tmp_path).split()
    assert place == [str(Path(site) / "fastpath" / "__init__.py"), __version__]
    command = tmp_path / "own" / "bin" / "fastpath"
    assert json.loads(run(command, "demo", "-o", tmp_path / "demo", "-q", "--json", cwd=tmp_path))
    run(command, "config", "list", cwd=tmp_path)


def test_the_container_and_the_conda_environment_name_extras_and_files_that_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    container, conda = (ROOT / "Dockerfile").read_text(), (ROOT / "environment.yml").read_text()
    for text in (container, conda):
        (named,) = re.findall(r"\.\[([a-z0-9,]+)\]", text)
        assert set(named.split(",")) <= set(extras)
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", container, re.MULTILINE) for word in line.split()]
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)
