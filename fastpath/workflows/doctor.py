"""Is this machine fit to train, and with what? Every finding with its remedy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastpath.text import brief

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Status = Literal["ok", "warning", "problem"]

_DISTRIBUTIONS = ("torch", "torchvision", "timm", "numpy", "pandas", "pyarrow", "scikit-learn", "tifffile")
_DALI_BUILDS = {"nvidia-dali-cuda120": 12, "nvidia-dali-cuda130": 13}
# Oldest Linux driver for each CUDA major version, from the CUDA release notes (minor-version compatibility).
_OLDEST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
# PyPI's wheels of torch start here from 2.11 on, those for CUDA 12.6 at sm_50 (docs/installation.md).
_OLDEST_OF_DEFAULT_WHEEL = (7, 5)
_WHEELS_FOR_OLD_CARDS = "https://download.pytorch.org/whl/cu126"
_FREE_BYTES_WANTED = 10 << 30  # the packed Kaggle set is 7.7 GB
_MEMORY_BYTES_WANTED = 4 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What.
        found: What there is.
        status: `problem` prevents training, `warning` limits it.
        remedy: What to do, in the imperative; empty where all is well.
    """

    name: str
    found: str
    status: Status = "ok"
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """All checks, in the order to read them."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether training can run here."""
        return all(check.status != "problem" for check in self.checks)


def examine_machine(directory: Path | None = None) -> DoctorResult:
    """Look at software, graphics card, processor, memory and disk, and run a small DALI pipeline.

    Args:
        directory: Where runs and stores would be written; None is the current one.
    """
    installed = {name: _version(name) for name in (*_DISTRIBUTIONS, *_DALI_BUILDS)}
    cards, driver = _cards()
    checks = [Check("python", f"{platform.python_version()}, {platform.platform()}")]
    checks += [_software(name, installed[name]) for name in _DISTRIBUTIONS]
    checks += [dali_builds(installed), *_attempt("GPU", lambda: _gpu(installed, cards, driver))]
    checks += _attempt("processor", _processor)
    checks += [_memory(), disk(directory or Path.cwd())]
    checks += _attempt("DALI pipeline", _pipeline)
    return DoctorResult(tuple(checks))


def dali_builds(installed: Mapping[str, str | None]) -> Check:
    """Find which build of DALI is installed: exactly one may be, since both write to the same folder."""
    builds = [name for name in _DALI_BUILDS if installed.get(name)]
    what = ", ".join(f"{name} {installed[name]}" for name in builds)
    if len(builds) > 1:
        both = " ".join(builds)
        remedy = f"run 'pip uninstall -y {both}', then 'pip install' the one for your driver"
        return Check("DALI", f"{what}: two builds overwrite each other's files", "problem", remedy)
    if not builds:
        return Check("DALI", "not installed", "problem", "run 'pip install nvidia-dali-cuda120'")
    return Check("DALI", what)


def cuda_match(torch_cuda: str | None, dali_major: int | None, driver: str | None) -> Check:
    """Say whether one driver serves both torch's CUDA and DALI's: their majors may differ, the driver may not lag.

    Args:
        torch_cuda: CUDA version torch was built for, such as `13.0`; None for a CPU build.
        dali_major: CUDA major version of the DALI build; None where there is none.
        driver: Version of the NVIDIA driver, such as `580.65.06`; None where there is none.
    """
    torch_major = int(torch_cuda.split(".")[0]) if torch_cuda else None
    majors = [major for major in (torch_major, dali_major) if major is not None]
    builds = f"torch for {f'CUDA {torch_cuda}' if torch_cuda else 'CPU'}, DALI for CUDA {dali_major or '?'}"
    needed = max((_OLDEST_DRIVER.get(major, (0, 0)) for major in majors), default=(0, 0))
    wanted = f"{needed[0]}.{needed[1]}"
    if driver is None:
        return Check("CUDA match", f"{builds}; both need driver {wanted} or newer, found no driver")
    if torch_major is None:
        remedy = "install a CUDA build of torch (https://pytorch.org/get-started) to use the card"
        return Check("CUDA match", f"{builds}; driver {driver} is unused", "warning", remedy)
    if tuple(int(part) for part in re.findall(r"\d+", driver)[:2]) < needed:
        remedy = f"update the driver to {wanted} or newer, or install builds for CUDA {max(majors) - 1}"
        return Check("CUDA match", f"{builds}; driver {driver} is older than {wanted}", "problem", remedy)
    return Check("CUDA match", f"{builds}; driver {driver} serves both")


def card_kernels(cards: Sequence[tuple[str, tuple[int, int]]], built: Sequence[str]) -> list[Check]:
    """Report the cards that torch opens but has no kernels for: the first step on one would fail. Nothing where none.

    Args:
        cards: Name and compute capability of each, in torch's order.
        built: The architectures that torch has kernels for.
    """
    from fastpath.devices.cards import served

    unserved = [(name, card) for name, card in cards if not served(card, built)]
    if not unserved:
        return []
    names = ", ".join(f"{name} (sm_{major}{minor})" for name, (major, minor) in unserved)
    old = min(card for _, card in unserved) < _OLDEST_OF_DEFAULT_WHEEL
    remedy = (
        f"run 'pip install --force-reinstall torch torchvision --index-url {_WHEELS_FOR_OLD_CARDS}'"
        if old
        else "run 'pip install --upgrade torch torchvision'"
    )
    # A run takes the first card unless told otherwise.
    status: Status = "problem" if unserved[0] == cards[0] else "warning"
    return [Check("GPU kernels", f"torch has none for {names}, only for {' '.join(built)}", status, remedy)]


def disk(directory: Path) -> Check:
    """Report free space where `directory` is or would be made."""
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    problem = f"{free / 1e9:.0f} GB free at {place}"
    if free < _FREE_BYTES_WANTED:
        return Check("disk", problem, "warning", "make room: the packed Kaggle set takes 7.7 GB")
    return Check("disk", problem)


def _attempt(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """Turn whatever a check raises into a finding: a doctor must not fall ill with the patient."""
    try:
        return look()
    except Exception as error:
        reason = brief(error, 160)
        return [
            Check(
                name,
                f"failed: {type(error).__name__}: {reason}",
                "problem",
                "mend what stands above, or reinstall fastpath",
            )
        ]


def _software(name: str, version: str | None) -> Check:
    if version is None:
        return Check(name, "not installed", "problem", f"run 'pip install {name}'")
    return Check(name, version)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cards() -> tuple[list[str], str | None]:
    """Ask the driver, not torch: a CPU build of torch must still be told that there is a card."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return [], None
    rows = [[value.strip() for value in line.split(",")] for line in answer.splitlines() if line.count(",") >= 2]
    return [f"{row[0]}, {row[1]}" for row in rows], rows[0][2] if rows else None


def _gpu(installed: Mapping[str, str | None], listed: list[str], driver: str | None) -> list[Check]:
    import torch

    from fastpath.devices import cards

    majors = [major for name, major in _DALI_BUILDS.items() if installed[name]]
    what = "; ".join(listed) if listed else "none: training runs on the processor"
    match = cuda_match(torch.version.cuda, majors[0] if majors else None, driver)
    return [Check("GPU", what), match, *card_kernels(cards.names_and_capabilities(), cards.kernels())]


def _processor() -> list[Check]:
    from fastpath.runtime import cpu_has_bfloat16, resolve

    runtime = resolve("auto", amp=True)
    lines = _lines("/proc/cpuinfo")
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    bfloat16 = "bfloat16 in hardware" if cpu_has_bfloat16() else "no bfloat16: --amp computes in float32 on it"
    return [
        Check("processor", f"{model}, {len(os.sched_getaffinity(0))} threads usable, {bfloat16}"),
        Check("a run would use", runtime.describe()),
    ]


def _memory() -> Check:
    values = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in _lines("/proc/meminfo"))
    }
    total, free = values.get("MemTotal", 0), values.get("MemAvailable", 0)
    limit = _lines("/sys/fs/cgroup/memory.max")
    if limit and limit[0].isdigit() and int(limit[0]) < total:
        used = _lines("/sys/fs/cgroup/memory.current")
        total = int(limit[0])
        free = min(free, total - int(used[0])) if used else min(free, total)
    problem = f"{free / 1e9:.0f} GB free of {total / 1e9:.0f} GB"
    if free < _MEMORY_BYTES_WANTED:
        return Check("memory", problem, "warning", "close other programs, or lower --set data.batch_size")
    return Check("memory", problem)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _pipeline() -> list[Check]:
    """Run one batch of drawn patches through the very graph that training uses, where training would run."""
    import numpy as np
    import torch

    from fastpath.config import Config
    from fastpath.data.loader import train_loader
    from fastpath.ingest import tissue
    from fastpath.runtime import resolve
    from fastpath.types import ChannelStats, Samples

    class Drawn:
        """Eight patches in memory, as a loader wants them."""

        patch_size_px = tissue.PATCH_SIZE_PX
        labels_N = np.arange(8, dtype=np.int8) % 2
        patches = tissue.paint_patches(labels_N, np.zeros(8, np.int64), seed=0)

        def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
            if out_NHWC is None:
                return self.patches[indices_N]
            out_NHWC[...] = self.patches[indices_N]
            return out_NHWC

    runtime, config = resolve("auto"), Config()
    began = time.perf_counter()
    stats = ChannelStats((0.7, 0.55, 0.7), (0.24, 0.28, 0.22))
    loader = train_loader(Samples(Drawn(), np.arange(8), stats), config, runtime)
    images_NCHW = next(iter(loader.epoch(0))).images_NCHW
    finite, shape = bool(torch.isfinite(images_NCHW).all()), tuple(images_NCHW.shape)
    loader.close()
    size = config.data.image_size_px
    if not finite or shape != (8, 3, size, size):
        problem = f"found {shape}, {'finite' if finite else 'not finite'}; wanted {(8, 3, size, size)}, finite"
        return [Check("DALI pipeline", problem, "problem", "reinstall DALI and report this")]
    milliseconds = 1000 * (time.perf_counter() - began)
    return [Check("DALI pipeline", f"built and ran on {runtime.placement} in {milliseconds:.0f} ms")]
