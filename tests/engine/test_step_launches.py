"""What a step asks of a card, counted on fake CUDA tensors, before and after the network that trains was made lean."""

from __future__ import annotations

import pytest
from torch import nn

from benchmarks.suites.launches import count
from fastpath.config import parse
from fastpath.model.registry import build


@pytest.mark.parametrize("batchnorm", ["adapt", "folded"])
def test_frozen_weights_cost_no_cast_and_all_counters_one_launch(batchnorm: str) -> None:
    model = {"name": "test_resnet", "pretrained": False, "trainable": "layer4", "batchnorm": batchnorm}
    config = parse({"data": {"image_size_px": 32}, "model": model, "train": {"ema_decay": 0.9}})
    before, now = (count(config, lean=lean) for lean in (False, True))
    plain = build(config.model, 32)
    frozen = [m for m in plain.modules() if isinstance(m, nn.Conv2d) and not m.weight.requires_grad]
    norms = [m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]
    trained = [m for m in norms if m.weight.requires_grad]
    biases = len(frozen) if batchnorm == "folded" else 0  # the fold gives each convolution one
    assert before["casts"] - now["casts"] == len(frozen) + biases
    assert before["counters"] == len(trained if batchnorm == "folded" else norms)
    assert now["counters"] == 1
    assert now["average"] <= before["average"]
    assert all(now[part] == before[part] for part in ("rest", "backward", "optimiser"))
    assert now["optimiser"] == 4  # two groups, their step counts apart
