"""Which parts of a network are trained, and how the frozen part's BatchNorm behaves."""

from __future__ import annotations

import copy
import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from fastpath.errors import ConfigError


class LogitNetwork(nn.Module):
    """A network with one output a patch, seen as logits [N], that remembers what of it is frozen.

    Frozen parameters do not require gradients. Since images do not either, autograd records nothing before the
    first trained layer: the frozen trunk costs a forward pass only, and keeps no activations.

    Attributes:
        trunk: The whole timm (or baseline) network, its one-output classifier included.
        lone_norms: Names of trunk modules that make statistics over samples alone, their maps being of one place.
        evaluated: Frozen modules that stay in evaluation mode while the rest trains.
        counters: int64 [] each, counted up by every batch in training mode; what they count for is for `lean` to know.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.lone_norms: tuple[str, ...] = ()
        self.evaluated: list[nn.Module] = []
        self.counters: list[Tensor] = []

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return logits [N] of normalised images float [N, 3, H, W]."""
        if self.counters and self.training and len(images_NCHW):
            torch._foreach_add_(self.counters, 1)
        return self.trunk(images_NCHW).squeeze(1)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> LogitNetwork:
        """Switch to training mode, except for the modules that are frozen altogether."""
        super().train(mode)
        for module in self.evaluated:
            module.eval()
        return self

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """The layer that emits the logit; those that emit its summands where there are several."""
        return heads_of(self.trunk)

    @property
    def least_batch(self) -> int:
        """Samples that a batch in training mode needs: 2 where BatchNorm would have a single value a channel."""
        return 2 if any(self.trunk.get_submodule(name).training for name in self.lone_norms) else 1


def heads_of(trunk: nn.Module) -> tuple[nn.Module, ...]:
    """Return a timm network's classifiers: distilled networks and those of several branches have more than one."""
    find = getattr(trunk, "get_classifier", None)
    result = find() if callable(find) else None
    if isinstance(result, nn.ModuleList | tuple | list):
        return tuple(module for module in result if isinstance(module, nn.Module))
    return (result,) if isinstance(result, nn.Module) else ()


def freeze(model: LogitNetwork, trainable: str, batchnorm: Literal["adapt", "frozen", "folded"]) -> None:
    """Leave only the heads and what stands from the named part on trainable.

    Args:
        model: Changed in place.
        trainable: `head`, `all`, or a module of the trunk, such as `layer4` or `blocks.3`: it and all that is defined
            after it, which in timm's networks is all that it feeds.
        batchnorm: In the frozen part, `adapt` keeps training mode (running statistics move and batches are
            normalised by their own, as in the notebook); `frozen` holds it in evaluation mode, dropout included;
            `folded` likewise, and is then made faster by `fold_frozen`.

    Raises:
        ConfigError: The trunk has no such module.
    """
    if trainable not in {"head", "all", *(name for name, _ in model.trunk.named_modules() if name)}:
        children = ", ".join(name for name, _ in model.trunk.named_children())
        raise ConfigError(
            "model.trainable",
            f"found '{trainable}', wanted head, all or one of {children}",
            "choose one of these",
        )
    reached = trainable == "all"
    for name, parameter in model.trunk.named_parameters():
        reached = reached or name.startswith(f"{trainable}.")
        parameter.requires_grad = reached
    for head in model.heads:
        head.requires_grad_(True)
    model.evaluated = [] if batchnorm == "adapt" else _frozen_modules(model.trunk)
    model.train(model.training)


def shared_copy(model: LogitNetwork) -> LogitNetwork:
    """Return a network of modules of its own and of the same parameters and buffers."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def parameter_groups(model: LogitNetwork) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the head's parameters and the trained ones of the trunk, each in the network's order."""
    head = [parameter for module in model.heads for parameter in module.parameters()]
    in_head = {id(parameter) for parameter in head}
    trunk = [p for p in model.parameters() if p.requires_grad and id(p) not in in_head]
    return head, trunk


def _frozen_modules(module: nn.Module) -> list[nn.Module]:
    """List the largest modules below `module` that hold parameters of which none is trained."""
    frozen: list[nn.Module] = []
    for child in module.children():
        parameters = list(child.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            frozen.append(child)
        else:
            frozen += _frozen_modules(child)
    return frozen
