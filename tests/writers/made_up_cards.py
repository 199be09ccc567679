"""`torch.cuda` of a machine that has other cards than this one."""

from __future__ import annotations

from typing import Any

import torch


class MadeUpCards:
    """Answers as `torch.cuda` of a machine with these cards, and hands on whatever else is asked.

    Args:
        names: What the cards are called.
        capabilities: Compute capability of each.
        kernels: Architectures that torch was built for.

    Attributes:
        chosen: The cards that were made the current one, the first of them at the start.
    """

    def __init__(self, names: list[str], capabilities: list[tuple[int, int]], kernels: list[str]) -> None:
        self.names, self.capabilities, self.kernels = names, capabilities, kernels
        self.chosen = [0]
        self._real: Any = torch.cuda  # noqa: TID251 (what it stands in for)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def is_available(self) -> bool:
        return bool(self.names)

    def device_count(self) -> int:
        return len(self.names)

    def is_bf16_supported(self, *_: object, **__: object) -> bool:
        return True

    def get_device_name(self, device: Any = None) -> str:
        return self.names[self._number(device)]

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        return self.capabilities[self._number(device)]

    def get_arch_list(self) -> list[str]:
        return self.kernels

    def set_device(self, number: int) -> None:
        self.chosen.append(number)

    def current_device(self) -> int:
        return self.chosen[-1]

    def _number(self, device: Any) -> int:
        number = device.index if isinstance(device, torch.device) else device
        return self.chosen[-1] if number is None else int(number)
