"""The versions of what decides a run's numbers."""

from __future__ import annotations

import importlib.metadata
import platform

from fastpath import __version__

_DISTRIBUTIONS = ("torch", "timm", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions of what decides a run's numbers."""
    found = {"python": platform.python_version(), "fastpath": __version__}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
