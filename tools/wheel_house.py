"""Make a wheel house: what `pip install --no-index` wants to install fastpath where there is no internet.

Meant for kernels of Kaggle, whose image brings torch, NumPy and the like: those stay out. Needs uv, and the internet.

Example:
    python tools/wheel_house.py wheels
    python tools/wheel_house.py wheels --python 3.12 --image freeze.txt    # of `pip freeze > freeze.txt` in the kernel
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from fastpath.cli import param_types
from fastpath.errors import DataError, FastpathError, UsageError

ROOT = Path(__file__).resolve().parent.parent
IN_EVERY_IMAGE = ("matplotlib", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn", "scipy", "torch", "torchvision")
"""What is large, or must not change under the rest of an image, of what fastpath needs and Colab's image has."""
GLIBC = 28  # 2.28 is what DALI 2.4 wants; Kaggle's and Colab's Ubuntu 22.04 has 2.35
_PLATFORMS = ("linux_x86_64", "manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(5, GLIBC + 1)))


def image_versions(freeze: str) -> dict[str, str | None]:
    """Return the version of each package that a `pip freeze` lists; None of one installed from a file or a URL."""
    versions: dict[str, str | None] = {}
    for line in freeze.splitlines():
        try:
            package = Requirement(line.partition("#")[0].strip())
        except InvalidRequirement:  # an empty line, a comment, an option, an editable checkout
            continue
        pinned = re.fullmatch(r"===?(\S+)", str(package.specifier))
        versions[canonicalize_name(package.name)] = pinned[1] if pinned else None
    return versions


def left_out(dependencies: Iterable[str], image: Mapping[str, str | None]) -> list[str]:
    """Return the names of those dependencies that an image has new enough; what has no known version counts as such."""
    names = []
    for dependency in map(Requirement, dependencies):
        name = canonicalize_name(dependency.name)
        version = image.get(name)
        if name in image and (version is None or dependency.specifier.contains(version, prereleases=True)):
            names.append(name)
    return sorted(names)


def pins(project: Path, without: Iterable[str], python: str, folder: Path) -> list[str]:
    """Return `name==version` of all that a project needs on Linux, less some packages and what only those need.

    Args:
        project: Its pyproject.toml.
        without: Names of the packages to leave out.
        python: The version of Python, such as `3.12`.
        folder: Where files may lie in between.

    Raises:
        FastpathError: uv finds no versions that go together.
    """
    overrides = folder / "overrides.txt"
    # Needed on no system: uv then looks for neither the package nor what it needs.
    overrides.write_text("".join(f"{name} ; sys_platform == 'never'\n" for name in without))
    words = ["pip", "compile", project, "--override", overrides, "--python-version", python, "--only-binary", ":all:"]
    words += ["--python-platform", f"x86_64-manylinux_2_{GLIBC}", "--no-header", "--no-annotate", "--quiet"]
    return [line for line in _run(_uv(), *words).splitlines() if "==" in line]


def fill(folder: Path, image: Mapping[str, str | None], python: str) -> None:
    """Download wheels to an empty folder, and build fastpath's own.

    Raises:
        FastpathError: A wheel is not to be had.
    """
    project = ROOT / "pyproject.toml"
    dependencies = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text("\n".join(pins(project, left_out(dependencies, image), python, Path(scratch))))
        target = [word for platform in _PLATFORMS for word in ("--platform", platform)]
        target += ["--python-version", python, "--only-binary", ":all:", "--no-deps"]
        _run(sys.executable, "-m", "pip", "download", "--quiet", *target, "--dest", folder, "--requirement", wanted)
    _run(_uv(), "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    (folder / ".gitignore").unlink(missing_ok=True)  # uv's


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise UsageError("uv", "is not installed, and finds the versions that go together", "pip install uv")
    return uv


def _run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        problem = f"ended with status {done.returncode}: {' '.join(lines[-3:])}"
        raise FastpathError(" ".join(map(str, words[:4])), problem, "see whether the internet can be reached")
    return done.stdout


@click.command()
@click.argument("folder", type=param_types.PATH)
@click.option("--python", default="3.12", show_default=True, help="Python of the machine to install on.")
@click.option(
    "--image",
    type=param_types.PATH,
    help="Its 'pip freeze': what is there and new enough is left out. Default: torch, NumPy and such are there.",
)
def main(folder: Path, python: str, image: Path | None) -> None:
    """Fill FOLDER with the wheels that fastpath needs on a machine without internet."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(folder, "already holds something, wanted a new folder", "remove it or name another")
        known = image_versions(image.read_text(encoding="utf-8")) if image else dict.fromkeys(IN_EVERY_IMAGE)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
            wheels = Path(staging) / "wheels"
            wheels.mkdir()
            fill(wheels, known, python)
            wheels.replace(folder)
    except (FastpathError, OSError) as error:
        raise click.ClickException(str(error)) from None
    sizes = [wheel.stat().st_size for wheel in folder.iterdir()]
    click.echo(f"{len(sizes)} wheels, {sum(sizes) / 1e6:.0f} MB")
    click.echo(f"→ {folder}")
    click.echo(f"there: pip install --no-index --find-links {folder.name} fastpath", err=True)


if __name__ == "__main__":
    main()
