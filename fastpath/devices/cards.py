"""The cards that torch can open, and whether it has kernels for them: a wheel is built for some and not for others."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import torch


def names_and_capabilities() -> list[tuple[str, tuple[int, int]]]:
    """Return the name and compute capability of each card that torch can open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of a card that it has no kernels for; the caller says so itself
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [(torch.cuda.get_device_name(card), torch.cuda.get_device_capability(card)) for card in range(count)]


def kernels() -> list[str]:
    """Return the architectures that this torch has kernels for, such as `sm_80`; none of a build for the CPU."""
    return torch.cuda.get_arch_list()


def serves(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether code built for one architecture runs on a card of this compute capability.

    Machine code (`sm_86`) runs on cards of the same major version from its minor version on, that of one card alone
    (`sm_90a`) nowhere else, and PTX (`compute_90`) on that version and all later ones, which translate it (NVIDIA's
    compatibility guides, "Application Compatibility").

    Args:
        architecture: As `torch.cuda.get_arch_list` names it.
        capability: Major and minor version.
    """
    kind, _, number = architecture.partition("_")
    built = tuple(divmod(int(re.sub(r"\D", "", number)), 10))
    if number[-1:].isalpha():
        return built == capability
    return built <= capability and (kind == "compute" or built[0] == capability[0])


def served(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether any of these architectures' code runs on a card of this compute capability."""
    return any(serves(architecture, capability) for architecture in built)
