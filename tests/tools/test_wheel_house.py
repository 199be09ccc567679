"""The wheel house: what it leaves out, and that it installs where nothing can be fetched."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from fastpath import __version__
from fastpath.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "wheel_house.py"
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
# Lines of Colab's `pip freeze` of June 2026, and other kinds that pip writes.
FREEZE = """
# a comment
-e git+https://example.org/x.git@0123#egg=editable
google-colab @ file:///colabtools/dist/google_colab-1.0.0.tar.gz
numpy==2.0.2
Pillow===11.3.0
pydantic_core==2.41.4
rich==13.9.4
threadpoolctl==3.6.0
torch==2.11.0+cu128
timm==1.0.27  # said twice: on two lines
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheel_house", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_freeze_is_read_in_every_form_that_pip_writes(tool: ModuleType) -> None:
    assert tool.image_versions(FREEZE) == {
        "google-colab": None,
        "numpy": "2.0.2",
        "pillow": "11.3.0",
        "pydantic-core": "2.41.4",
        "rich": "13.9.4",
        "threadpoolctl": "3.6.0",
        "torch": "2.11.0+cu128",
        "timm": "1.0.27",
    }


def test_what_an_image_has_is_left_out_unless_it_is_too_old(tool: ModuleType) -> None:
    left_out = tool.left_out(DEPENDENCIES, tool.image_versions(FREEZE))
    assert left_out == ["numpy", "pillow", "timm", "torch"]
    assert tool.left_out(["a>=2"], {"a": "2.1rc1"}) == ["a"]
    assert tool.left_out(["a>=2"], {"a": "1.9"}) == tool.left_out(["a>=2"], {}) == []


def test_by_default_what_is_needed_of_the_packages_of_every_image_is_left_out(tool: ModuleType) -> None:
    assert tool.left_out(DEPENDENCIES, dict.fromkeys(tool.IN_EVERY_IMAGE)) == sorted(tool.IN_EVERY_IMAGE)


def test_a_folder_that_holds_something_is_left_alone(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    outcome = CliRunner().invoke(tool.main, [str(tmp_path)])
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (1, 1)
    assert "already holds something" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_no_folder_is_left_where_a_wheel_cannot_be_had(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, *_: object) -> None:
        (folder / "half.whl").touch()
        raise UsageError("uv", "is not installed", "pip install uv")

    monkeypatch.setattr(tool, "fill", refuse)
    outcome = CliRunner().invoke(tool.main, [str(tmp_path / "new" / "wheels")])
    assert (outcome.exit_code, outcome.stderr) == (1, "Error: uv: is not installed; pip install uv\n")
    assert not any((tmp_path / "new").iterdir())


def run(*words: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_installs_where_nothing_can_be_fetched(tool: ModuleType, tmp_path: Path) -> None:
    """The rehearsal: this environment's packages stand for those of an image without DALI, captum and rich.

    Half a gigabyte is downloaded.
    """
    if shutil.which("uv") is None and not (Path(sys.executable).parent / "uv").exists():
        pytest.skip("uv is not installed")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    outcome = CliRunner().invoke(tool.main, [str(tmp_path / "wheels"), "--python", python], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.stderr
    wheels = {path.name.partition("-")[0].lower() for path in (tmp_path / "wheels").iterdir()}
    assert {"fastpath", "nvidia_dali_cuda120", "nvidia_nvimgcodec_cu12", "captum", "timm", "rich"} <= wheels
    assert not wheels & {"torch", "numpy", "scipy", "triton", "pandas", "nvidia_cudnn_cu12", "nvidia_cublas_cu12"}

    run(sys.executable, "-m", "venv", tmp_path / "image", cwd=tmp_path)
    python_there = tmp_path / "image" / "bin" / "python"
    there = Path(
        run(python_there, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    lacks = re.compile(
        r"(fastpath|captum|nvidia_(dali|nvimgcodec|nvjpeg|nvtiff|libnvcomp)|rich)([-_.]|$)", re.IGNORECASE
    )
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        # DALI lies in the namespace `nvidia` with what torch needs of CUDA, so folders of it are linked one by one.
        nested = sorted(path.iterdir()) if path.name == "nvidia" else [path]
        for each in nested:
            if not lacks.match(each.name) and each.name not in {"dali", "nvimgcodec", "nvjpeg", "nvjpeg2k", "nvtiff"}:
                target = there / each.relative_to(path.parent)
                target.parent.mkdir(exist_ok=True)
                if not target.exists():
                    target.symlink_to(each)
    installed = run(
        python_there,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--find-links",
        tmp_path / "wheels",
        "fastpath",
        cwd=tmp_path,
    )
    assert re.search(r"Successfully installed .*\bcaptum-.*\bfastpath-.*\bnvidia-dali-cuda120-", installed)
    fastpath = tmp_path / "image" / "bin" / "fastpath"
    assert __version__ in run(fastpath, "--version", cwd=tmp_path)
    run(python_there, ROOT / "tools" / "make_patches.py", "patches", "--train", 24, "--test", 4, cwd=tmp_path)
    assert json.loads(run(fastpath, "pack", "patches", "-o", "store", "-q", "--json", cwd=tmp_path))["patches"] == 24
    run(python_there, "-c", "import nvidia.dali.fn, captum, fastpath.library", cwd=tmp_path)
