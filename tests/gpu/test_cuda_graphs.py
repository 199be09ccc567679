"""What only a card can show of recorded steps: they are those taken one by one, whatever moves between them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from fastpath.config import Config, parse
from fastpath.engine.optim import make_optimizer, make_schedule, steps_taken
from fastpath.engine.step import make_step
from fastpath.model.freeze import parameter_groups
from fastpath.model.registry import build
from fastpath.runs.train_stages import training_network
from fastpath.runtime import Precision, Runtime
from fastpath.types import Batch

pytestmark = pytest.mark.gpu
NUM_STEPS = 12


def settings(**model: str) -> Config:
    return parse(
        {
            "data": {"image_size_px": 64},
            "model": {"name": "resnet18", "pretrained": False, **model},
            "optim": {"lr_head": 1e-3, "lr_trunk": 1e-3},
            "schedule": {"kind": "onecycle"},  # moves rates and betas at every step
        }
    )


def batch(step: int, runtime: Runtime) -> Batch:
    """Sixteen samples; nine every fifth step."""
    size = 9 if step % 5 == 4 else 16
    generator = torch.Generator().manual_seed(step)
    labels_N = (torch.arange(size) % 2).float()
    images = torch.randn(size, 3, 64, 64, generator=generator) + labels_N[:, None, None, None]
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images.to(runtime.device), labels_N.to(runtime.device), torch.arange(size).to(runtime.device))


def trained(
    config: Config, runtime: Runtime, *, graph: bool, scale: float = 65536.0
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return losses, weights and the steps that the optimiser took, on the CPU."""
    runtime.seed(0)
    model = build(config.model, 64)
    runtime.prepare(model)
    network = training_network(model, config, runtime).train()
    optimizer, scaler = make_optimizer(*parameter_groups(model), config.optim), runtime.grad_scaler()
    if scaler.is_enabled():
        scaler.load_state_dict(scaler.state_dict() | {"scale": scale})
    schedule = make_schedule(optimizer, config.schedule, num_epochs=1, total_steps=NUM_STEPS)
    step = make_step(network, optimizer, scaler, runtime, cuda_graph=graph)
    losses = []
    for number in range(NUM_STEPS):
        runtime.seed(7, number)
        losses.append(step(batch(number, runtime)))
        schedule.after_step()
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    return torch.stack(losses).cpu(), weights, steps_taken(optimizer).cpu()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "model",
    [
        {"trainable": "layer4"},
        {"trainable": "layer4", "batchnorm": "folded"},
        {"name": "efficientnet_b0", "trainable": "all"},  # drops whole paths
    ],
    ids=["layer4", "folded", "dropping"],
)
def test_recorded_steps_are_those_taken_one_by_one(model: dict[str, str], precision: Precision, cuda: Runtime) -> None:
    config, runtime = settings(**model), dataclasses.replace(cuda, precision=precision)
    (losses, weights, _), (wanted, theirs, _) = (trained(config, runtime, graph=graph) for graph in (True, False))
    # Kernels that add in any order differ by rounding, which training spreads.
    torch.testing.assert_close(losses, wanted, rtol=2e-2, atol=2e-2)
    for name, value in weights.items():
        torch.testing.assert_close(value, theirs[name], rtol=5e-2, atol=2e-2, msg=name)
    counters = [name for name in weights if name.endswith("num_batches_tracked")]
    assert all(torch.equal(weights[name], theirs[name]) for name in counters)


def test_a_scaler_skips_recorded_steps_that_overflow(cuda: Runtime) -> None:
    config, runtime = settings(trainable="all"), dataclasses.replace(cuda, precision="float16")
    (_, weights, taken), (_, _, wanted) = (
        trained(config, runtime, graph=graph, scale=2.0**40) for graph in (True, False)
    )
    assert taken == wanted
    assert taken < NUM_STEPS
    assert all(value.isfinite().all() for value in weights.values())
