"""An exponential moving average of a network's weights, which scores better than the last ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ModelEMA:
    """Follows a network's weights and floating-point buffers. Does nothing that waits for the device.

    The decay starts low, so that the weights of the first steps are forgotten in a short run too: TensorFlow's
    `ExponentialMovingAverage` with `num_updates`. An average of what never changes is equal to it, so of a network
    that is frozen in part only the rest is followed, by lists of tensors made once.

    Attributes:
        model: The averaged network, to be scored with; of the same form as the one followed.
        num_updates: Steps followed so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin at the network's present weights.

        Args:
            model: The network to follow, on its device.
            decay: Highest decay a step, below 1.
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.num_updates = 0
        self._decay = decay
        self._followed: nn.Module | None = None
        self._averages: list[Tensor] = []
        self._values: list[Tensor] = []
        self.follow(model)

    def follow(self, model: nn.Module) -> None:
        """Look anew at which of a network's tensors move: to be called when other parts of it are frozen than before.

        Waits for the device: a tensor that is frozen now may have moved before, and its average is then still behind.

        Args:
            model: The network to follow. What its training mode leaves in evaluation mode keeps its buffers.
        """
        own, moving = self.model.state_dict(), _moving(model)
        pairs = [
            (own[name], value)
            for name, value in model.state_dict().items()
            if value.is_floating_point() and (name in moving or not torch.equal(own[name], value))
        ]
        self._averages, self._values = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        self._followed = model

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the network's weights after a step."""
        if model is not self._followed:
            self.follow(model)
        decay = min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        torch._foreach_lerp_(self._averages, self._values, 1.0 - decay)

    def load(self, state: Mapping[str, Tensor], num_updates: int) -> None:
        """Go on from saved averages."""
        self.model.load_state_dict(state)
        self.num_updates = num_updates
        self._followed = None  # what was equal to the network may be behind it now


def _moving(model: nn.Module) -> set[str]:
    """Name what training changes: parameters not frozen, and the buffers of modules in training mode.

    Of a network that is in evaluation mode itself, no mode tells anything, so all its buffers are named.
    """
    names = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    for path, module in model.named_modules(remove_duplicate=False):
        if module.training or not model.training:
            names |= {name for name, _ in module.named_buffers(path, recurse=False)}
    return names
