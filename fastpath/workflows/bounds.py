"""The least time a training step can take: its arithmetic over what the device has been seen to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from fastpath.runtime import Runtime

RESNET50_FORWARD_FLOP = 2 * 4.09e9  # at 224 pixels, two operations a multiply-accumulate (timm's published GMACs)
TRAINING_OVER_FORWARD = 3  # forward, gradients of activations, gradients of weights

# ResNet-50 at 224 in mixed precision, patches a second of inference and of training: the best figures published for
# each card, as in the table of docs/performance.md.
PUBLISHED_PER_S = {"T4": (1561, 0), "V100": (3382, 1492), "A100": (8241, 3410), "H100": (0, 6900)}


def step_flop(step: Callable[[], object]) -> float:
    """Return the floating-point operations of one training step: matrix products and convolutions, as dispatched.

    Args:
        step: Takes one step. A frozen trunk under `no_grad` has no backward pass, and none is counted.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def peak_flop_per_s(runtime: Runtime, side: int | None = None, rounds: int = 5) -> float:
    """Return the operations a second of a large square matrix product in the run's precision, the best of `rounds`.

    No convolution is faster, so this over a step's operations bounds the rate of steps.

    Args:
        runtime: Device and precision.
        side: Rows and columns; by default 8192 on a card and 2048 on a CPU, a fraction of a second each.
        rounds: Repetitions.
    """
    side = side or (8192 if runtime.placement == "gpu" else 2048)
    left, right = (torch.rand(side, side, device=runtime.device) for _ in range(2))
    best = float("inf")
    with torch.no_grad(), runtime.autocast():
        for _ in range(rounds + 1):  # the first is warm-up, and can only be slower
            runtime.synchronize()
            began = time.perf_counter()
            torch.mm(left, right)
            runtime.synchronize()
            best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best


def published_flop_per_s(device: str) -> float | None:
    """Return the operations a second at which a card has been seen to run ResNet-50; None where none is known.

    Args:
        device: A description that holds the card's name.
    """
    for card, (inference, training) in PUBLISHED_PER_S.items():
        if re.search(rf"\b{card}\b", device):
            return max(inference, training * TRAINING_OVER_FORWARD) * RESNET50_FORWARD_FLOP
    return None
