"""An exponential moving average of a network's weights, which scores better than the last ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """Follows a network's weights and floating-point buffers. Does nothing that waits for the device.

    The decay starts low, so that the weights of the first steps are forgotten in a short run too: TensorFlow's
    `ExponentialMovingAverage` with `num_updates`.

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

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the network's weights after a step."""
        decay = min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        own = self.model.state_dict()
        moving = [(own[name], value) for name, value in model.state_dict().items() if value.is_floating_point()]
        averages, values = map(list, zip(*moving, strict=True))
        torch._foreach_lerp_(averages, values, 1.0 - decay)

    def load(self, state: Mapping[str, Tensor], num_updates: int) -> None:
        """Go on from saved averages."""
        self.model.load_state_dict(state)
        self.num_updates = num_updates
