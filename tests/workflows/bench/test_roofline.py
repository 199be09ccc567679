"""The arithmetic of a step, counted and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fastpath.runtime import Precision, Runtime
from fastpath.workflows.bench import roofline


def test_the_operations_of_a_linear_step_are_those_counted_by_hand() -> None:
    trunk, head = nn.Linear(32, 16, bias=False), nn.Linear(16, 1, bias=False)
    inputs = torch.rand(8, 32)

    def step() -> None:
        with torch.no_grad():
            features = trunk(inputs)
        head(features).sum().backward()

    # The trunk forward; the head forward and the gradient of its weights. Its input needs no gradient.
    assert roofline.step_flop(step) == 2 * 8 * 32 * 16 + 2 * (2 * 8 * 16)


def test_a_resnet50_step_costs_what_performance_md_says() -> None:
    import timm

    model = timm.create_model("resnet50", num_classes=1).eval()
    with torch.no_grad():
        flop = roofline.step_flop(lambda: model(torch.rand(1, 3, 224, 224)))
    assert flop == pytest.approx(roofline.RESNET50_FORWARD_FLOP, rel=0.01)


def test_the_peak_is_a_rate_that_a_product_reaches() -> None:
    flop_per_s = roofline.peak_flop_per_s(Runtime(torch.device("cpu"), num_threads=1), side=128, rounds=2)
    assert flop_per_s > 1e7


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_peak_is_of_the_dtype_in_which_the_step_computes(
    precision: Precision, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.dtype, bool]] = []
    real = torch.mm

    def spied(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.extend((factor.dtype, torch.is_autocast_enabled("cpu")) for factor in (left, right))
        return real(left, right)

    monkeypatch.setattr(torch, "mm", spied)
    roofline.peak_flop_per_s(Runtime(torch.device("cpu"), precision, num_threads=1), side=16, rounds=1)
    assert set(seen) == {(dtype, False)}


@pytest.mark.parametrize(
    ("device", "patches_per_s"),
    [("NVIDIA A100-SXM4-80GB, bfloat16", 3 * 3410), ("Tesla T4, float16", 1561), ("NVIDIA H100 PCIe", 3 * 6900)],
)
def test_published_rates_are_found_by_the_name_of_the_card(device: str, patches_per_s: float) -> None:
    assert roofline.published_flop_per_s(device) == pytest.approx(patches_per_s * roofline.RESNET50_FORWARD_FLOP)
    assert roofline.published_flop_per_s("NVIDIA T400 4GB") is None


def documented() -> dict[tuple[str, bool], list[str]]:
    """Return the rows of the roofline's table: by card and precision, rates, bound and ratio as written."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "performance.md").read_text(encoding="utf-8")
    cells_of_card = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        card, _, precision = cells[0].partition(", ")
        if precision in ("float32", "mixed precision") and len(cells) == 6:
            cells_of_card[card, precision == "mixed precision"] = cells[1:5]
    return cells_of_card


def written(pair: tuple[float, ...] | None, digits: int = 0) -> str:
    ends = list(dict.fromkeys(f"{value:,.{digits}f}" for value in sorted(pair or ())))
    return "\N{EN DASH}".join(ends)


@pytest.mark.parametrize("key", roofline.PUBLISHED)
def test_performance_md_has_the_bounds_that_the_code_works_out(key: tuple[str, bool]) -> None:
    rates, bound = roofline.PUBLISHED[key], roofline.epoch_bound_s(key[0], mixed=key[1])
    assert bound is not None
    times = tuple(roofline.NOTEBOOK_EPOCH_S / seconds for seconds in bound)
    digits = 0 if times[0] > 5 else 1
    assert documented()[key] == [
        written(rates.inference),
        written(rates.training),
        written(bound),
        written(times, digits) + "\N{MULTIPLICATION SIGN}",
    ]


def test_an_epochs_bound_by_hand() -> None:
    # A training step of every layer is three forward passes, of layer4 and the head 1.346.
    a100 = roofline.epoch_bound_s("NVIDIA A100-SXM4-40GB", mixed=True)
    assert a100 is not None
    assert a100[0] == pytest.approx(176_020 / 3410 * 1.346 / 3 + 44_005 / 8241)
    assert roofline.epoch_bound_s("NVIDIA A100-SXM4-40GB", mixed=False) is None
    assert roofline.epoch_bound_s("Tesla T4", mixed=False) == pytest.approx([(176_020 * 1.346 + 44_005) / 428] * 2)
