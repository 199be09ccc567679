"""The versions of what decides a run's numbers."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

from fastpath import __version__

_DISTRIBUTIONS = ("torch", "timm", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions of what decides a run's numbers."""
    return {"python": platform.python_version(), "fastpath": __version__, **installed(_DISTRIBUTIONS)}


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed: of DALI's two builds, an environment has one."""
    by_name = {}
    for name in names:
        try:
            by_name[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return by_name
