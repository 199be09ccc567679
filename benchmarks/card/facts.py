"""Stage: what a figure means nothing without."""

from __future__ import annotations

import os

import timm
import torch
import torchvision
from nvidia import dali

from benchmarks import harness
from benchmarks.card import device
from benchmarks.card.check import Check
from fastpath.workflows.bench import roofline


def tell(check: Check) -> None:
    """Tell of machine, card and versions, and of the rate of a large matrix product."""
    runtime = check.runtime()
    # A bundle may hold packages without their distributions' names, so modules are asked.
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    versions |= {"dali": dali.__version__, "cuda": str(torch.version.cuda), "cudnn": str(_cudnn())}
    card = device.smi()
    check.tell("facts", runtime=runtime.describe(), notice=runtime.notice or "none", versions=versions)
    machine = harness.machine(card.get("name"))
    check.tell("facts", smi=card or "nvidia-smi is not here", machine=machine, threads=len(os.sched_getaffinity(0)))
    settings = {
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "tf32_products": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    side = 256 if check.tiny else None
    product = roofline.peak_flop_per_s(runtime, side=side) / 1e12
    check.tell("facts", precision=runtime.precision, product_tflop_per_s=round(product, 3), **settings)


def _cudnn() -> int | None:
    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return version
