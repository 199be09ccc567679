"""Make the peers' virtual environments, one each, under `.peers/`: none of them is a dependency of fastpath.

Usage: python -m benchmarks.peers.environments [NAME]...   (run it with the project's own interpreter)

Versions are pinned. An environment may borrow the project's packages (torch, torchvision, pandas: gigabytes) by a .pth
file that puts them at the END of its path: what it installs itself comes first, pip counts the borrowed ones as
installed, and every peer then runs on the same torch. An environment is used only once its `ready.json` says that
exactly these versions went in; when they did not go in, `failed.txt` keeps the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".peers"


@dataclass(frozen=True)
class Environment:
    """What goes into one environment.

    Attributes:
        packages: Installed with their dependencies, in one go.
        alone: Installed after those without dependencies and without build isolation: built against `packages`.
        borrows: Whether the project's packages follow on the path.
        commands: Programs that must exist before anything is built.
        pkg_config: Libraries that pkg-config must know.
        system: The Debian packages that bring those.
    """

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    borrows: bool = True
    commands: tuple[str, ...] = ()
    pkg_config: tuple[str, ...] = ()
    system: tuple[str, ...] = ()


ENVIRONMENTS = {
    "albumentations": Environment(packages=("albumentations==2.0.8", "opencv-python-headless==4.13.0.92")),
    "webdataset": Environment(packages=("webdataset==1.0.2",)),
    "litdata": Environment(packages=("litdata==0.2.76",)),
    "ffcv": Environment(
        # The wheel of opencv-python that ffcv asks for needs a display's libraries; the headless one is the same cv2.
        packages=(
            "setuptools<81",
            "numba==0.68.1",
            "opencv-python-headless==4.13.0.92",
            "assertpy==1.1",
            "fastargs==1.2.0",
            "imgcat==0.6.0",
            "psutil",
            "terminaltables==3.1.10",
            "tqdm",
        ),
        alone=("ffcv==1.0.2",),
        commands=("pkg-config", "g++"),
        pkg_config=("opencv4", "libturbojpeg"),
        system=("pkg-config", "libturbojpeg0-dev", "libopencv-dev", "g++"),
    ),
    "kornia": Environment(packages=("kornia==0.9.0",)),
}


def interpreter(name: str) -> Path:
    """Return the environment's interpreter, whether it exists or not."""
    return FOLDER / name / "bin" / "python"


def absence(name: str) -> str | None:
    """Return why an environment cannot be used, in one line, or None when it is there as pinned."""
    folder = FOLDER / name
    if (folder / "failed.txt").exists():
        return (folder / "failed.txt").read_text(encoding="utf-8").strip()
    ready = folder / "ready.json"
    if not ready.exists():
        return f"no environment: run 'python -m benchmarks.peers.environments {name}'"
    if json.loads(ready.read_text(encoding="utf-8")) != _pins(name):
        return f"an environment of other versions: run 'python -m benchmarks.peers.environments {name}'"
    return None


def make(name: str) -> str | None:
    """Make one environment afresh; returns why it could not be made, in one line, or None."""
    folder, wanted = FOLDER / name, ENVIRONMENTS[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reason = _missing(wanted)
    if reason is None:
        venv.create(folder, with_pip=True, symlinks=True)
        if wanted.borrows:
            _borrow(folder)
        reason = _pip(name, *wanted.packages)
    if reason is None and wanted.alone:
        reason = _pip(name, "--no-build-isolation", "--no-deps", *wanted.alone)
    if reason is not None:
        (folder / "failed.txt").write_text(reason + "\n", encoding="utf-8")
        return reason
    (folder / "ready.json").write_text(json.dumps(_pins(name), indent=1) + "\n", encoding="utf-8")
    return None


def _pins(name: str) -> object:
    """Return what `ready.json` holds, as JSON gives it back."""
    return json.loads(json.dumps(asdict(ENVIRONMENTS[name]) | {"python": list(sys.version_info[:2])}))


def _borrow(folder: Path) -> None:
    """Put the running interpreter's packages at the end of the environment's path."""
    own = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (own / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")


def _missing(wanted: Environment) -> str | None:
    """Return which program or library the build lacks, in one line, or None."""
    lacking = [command for command in wanted.commands if shutil.which(command) is None]
    if not lacking:
        known = ["pkg-config", "--exists"]
        lacking = [name for name in wanted.pkg_config if subprocess.run([*known, name], check=False).returncode != 0]
    if not lacking:
        return None
    return f"the machine lacks {', '.join(lacking)}: run 'apt-get install {' '.join(wanted.system)}'"


def _pip(name: str, *arguments: str) -> str | None:
    """Run pip in an environment; returns its last error in one line, or None."""
    command = [str(interpreter(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    errors = [line.strip() for line in done.stderr.splitlines() if "error" in line.lower()]
    return f"pip install {' '.join(arguments)} failed: {(errors or done.stderr.strip().splitlines() or ['?'])[-1]}"


def main(names: list[str]) -> int:
    """Make the environments named, or all; returns 1 when one could not be made."""
    unknown = sorted(set(names) - set(ENVIRONMENTS))
    if unknown:
        print(f"found {', '.join(unknown)}, wanted any of {', '.join(ENVIRONMENTS)}", file=sys.stderr)
        return 2
    failed = False
    for name in names or ENVIRONMENTS:
        reason = make(name)
        failed |= reason is not None
        print(f"{name:16s} {reason or 'ready'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
