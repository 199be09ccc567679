"""The arithmetic of a step, counted and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastpath.runtime import Runtime
from fastpath.workflows import bounds


def test_the_operations_of_a_linear_step_are_those_counted_by_hand() -> None:
    trunk, head = nn.Linear(32, 16, bias=False), nn.Linear(16, 1, bias=False)
    inputs = torch.rand(8, 32)

    def step() -> None:
        with torch.no_grad():
            features = trunk(inputs)
        head(features).sum().backward()

    # The trunk forward; the head forward and the gradient of its weights. Its input needs no gradient.
    assert bounds.step_flop(step) == 2 * 8 * 32 * 16 + 2 * (2 * 8 * 16)


def test_a_resnet50_step_costs_what_performance_md_says() -> None:
    import timm

    model = timm.create_model("resnet50", num_classes=1).eval()
    with torch.no_grad():
        found = bounds.step_flop(lambda: model(torch.rand(1, 3, 224, 224)))
    assert found == pytest.approx(bounds.RESNET50_FORWARD_FLOP, rel=0.01)


def test_the_peak_is_a_rate_that_a_product_reaches() -> None:
    found = bounds.peak_flop_per_s(Runtime(torch.device("cpu"), num_threads=1), side=128, rounds=2)
    assert found > 1e7


@pytest.mark.parametrize(
    ("device", "patches_per_s"),
    [("NVIDIA A100-SXM4-80GB, bfloat16", 3 * 3410), ("Tesla T4, float16", 1561), ("NVIDIA H100 PCIe", 3 * 6900)],
)
def test_published_rates_are_found_by_the_name_of_the_card(device: str, patches_per_s: float) -> None:
    assert bounds.published_flop_per_s(device) == pytest.approx(patches_per_s * bounds.RESNET50_FORWARD_FLOP)
    assert bounds.published_flop_per_s("NVIDIA T400 4GB") is None
