"""The least time a training step can take: its arithmetic over what the device has been seen to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from fastpath.runtime import Runtime

RESNET50_FORWARD_FLOP = 2 * 4.09e9  # at 224 pixels, two operations a multiply-accumulate (timm's published GMACs)
TRAINING_OVER_FORWARD = 3  # forward, gradients of activations, gradients of weights
LAYER4_OVER_FORWARD = 1.346  # a step of `layer4` and the head: forward everywhere, gradients of those only
EPOCH_TRAIN, EPOCH_VAL = 176_020, 44_005  # the notebook's patches
NOTEBOOK_EPOCH_S = 960.0  # what it took


@dataclass(frozen=True, slots=True)
class Published:
    """ResNet-50 at 224 pixels as others have measured it: patches a second, lowest and highest; None where unknown.

    Attributes:
        inference: Forward passes.
        training: Steps that train every layer.
    """

    inference: tuple[int, int] | None = None
    training: tuple[int, int] | None = None


# By card and whether in mixed precision, as in the table of docs/performance.md.
PUBLISHED = {
    ("T4", False): Published(inference=(428, 428)),
    ("T4", True): Published(inference=(1198, 1561)),
    ("P100", False): Published(training=(219, 219)),
    ("V100", True): Published(inference=(3382, 3382), training=(833, 1492)),
    ("A100", True): Published(inference=(5742, 8241), training=(1582, 3410)),
    ("H100", True): Published(training=(2791, 6900)),
}


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

    No convolution is faster, so this over a step's operations bounds the rate of steps. The factors are of the dtype in
    which the step computes, so that none is cast on the clock; float32 is TF32 where convolutions are.

    Args:
        runtime: Device and precision.
        side: Rows and columns; by default 8192 on a card and 2048 on a CPU, a fraction of a second each.
        rounds: Repetitions.
    """
    side = side or (8192 if runtime.placement == "gpu" else 2048)
    left, right = (torch.rand(side, side, device=runtime.device, dtype=runtime.dtype) for _ in range(2))
    best = float("inf")
    with torch.no_grad():
        for _ in range(rounds + 1):  # the first is warm-up, and can only be slower
            runtime.synchronize()
            began = time.perf_counter()
            torch.mm(left, right)
            runtime.synchronize()
            best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best


def published(device: str, *, mixed: bool) -> Published | None:
    """Return what others have measured on a card; None where none is known.

    Args:
        device: A description that holds the card's name.
        mixed: In mixed precision, or in float32.
    """
    result = (rates for (card, amp), rates in PUBLISHED.items() if amp == mixed and re.search(rf"\b{card}\b", device))
    return next(result, None)


def published_flop_per_s(device: str, *, mixed: bool = True) -> float | None:
    """Return the operations a second at which a card has been seen to run ResNet-50; None where none is known.

    Args:
        device: A description that holds the card's name.
        mixed: In mixed precision, or in float32.
    """
    rates = published(device, mixed=mixed)
    if rates is None:
        return None
    forward, training = (pair[1] if pair else 0 for pair in (rates.inference, rates.training))
    return max(forward, training * TRAINING_OVER_FORWARD) * RESNET50_FORWARD_FLOP


def epoch_bound_s(device: str, *, mixed: bool) -> tuple[float, float] | None:
    """Return the least seconds that an epoch of the notebook takes at a card's published rates, lowest and highest.

    Patches trained on cost `LAYER4_OVER_FORWARD` forward passes, of which a published training step is three; those
    validated cost one. Where training or inference is not published, the one stands for the other.

    Args:
        device: A description that holds the card's name.
        mixed: In mixed precision, or in float32.
    """
    rates = published(device, mixed=mixed)
    if rates is None:
        return None
    forward = rates.inference or tuple(TRAINING_OVER_FORWARD * rate for rate in rates.training or ())
    step = rates.training or tuple(rate / TRAINING_OVER_FORWARD for rate in forward)
    trained = EPOCH_TRAIN * LAYER4_OVER_FORWARD / TRAINING_OVER_FORWARD
    slow, fast = (trained / a_step + EPOCH_VAL / a_pass for a_step, a_pass in zip(step, forward, strict=True))
    return fast, slow
