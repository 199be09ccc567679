"""BatchNorm's statistics: over the samples of all ranks, and of the patches at hand in place of the weights' images.

torch's own SyncBatchNorm is made for CUDA and refuses the CPU. The one here needs nothing but a sum over ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from fastpath.model.freeze import LogitNetwork

Total = Callable[[Tensor], Tensor]
"""From a tensor to its sum over ranks, as a new tensor."""


class _TotalOverRanks(torch.autograd.Function):
    """A sum over ranks. Each rank's loss depends on each rank's summand, so gradients are summed likewise."""

    @staticmethod
    def forward(context: Any, values: Tensor, total: Total) -> Tensor:  # noqa: ANN401
        context.all_reduce_sum = total
        return total(values)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> tuple[Tensor, None]:  # noqa: ANN401
        return context.all_reduce_sum(gradients[0].contiguous()), None


class RankBatchNorm2d(nn.Module):
    """In training mode, normalises by the statistics of the whole step; a rank without a sample takes part with none.

    Args:
        norm: What it stands for; its parameters and statistics are shared, under the same names.
        all_reduce_sum: The sum over ranks.
    """

    def __init__(self, norm: nn.BatchNorm2d, total: Total) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        # What timm's BatchNormAct2d does afterwards.
        self.drop, self.act = getattr(norm, "drop", nn.Identity()), getattr(norm, "act", nn.Identity())
        self.eps, self.momentum = norm.eps, norm.momentum if norm.momentum is not None else 0.1
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self._total = total
        self.train(norm.training)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return float [N, C, H, W]."""
        if not self.training:
            normalised = functional.batch_norm(
                images_NCHW, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
            return self.act(self.drop(normalised))  # type: ignore[no-any-return]
        values = images_NCHW.float()
        count = values.new_full((1,), float(values.numel() // values.shape[1]))
        sums = _TotalOverRanks.apply(torch.cat([values.sum((0, 2, 3)), count]), self._total)
        num, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        # In two passes: the difference of two large sums would lose the variance in float32.
        centred = values - mean[:, None, None]
        variance = _TotalOverRanks.apply(centred.square().sum((0, 2, 3)), self._total) / num
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (num / (num - 1).clamp(min=1)), self.momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        normalised = centred * scale[:, None, None] + self.bias[:, None, None]
        return self.act(self.drop(normalised.to(images_NCHW.dtype)))  # type: ignore[no-any-return]


def synchronise(model: nn.Module, total: Total) -> None:
    """Replace every BatchNorm below `model` that makes statistics, being in training mode, by one over all ranks.

    Args:
        model: Changed in place; state dict and parameters stay what they are.
        total: The sum over ranks.
    """
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d) and child.training:
            setattr(model, name, RankBatchNorm2d(child, total))
        else:
            synchronise(child, total)


def recalibrate(model: LogitNetwork, images: Iterable[Tensor]) -> None:
    """Take the running statistics of every BatchNorm anew: the mean over batches of each batch's own.

    Of another domain's images, weights work better with its statistics (AdaBN; Li et al., 2016, arXiv:1603.04779).

    Args:
        model: Changed in place, its frozen part too; modes stay what they are.
        images: Batches float [N, 3, H, W] on the model's device, normalised and augmented as in training.
    """
    update_bn(images, model.trunk)
    model.train(model.training)  # the frozen part back into evaluation mode
