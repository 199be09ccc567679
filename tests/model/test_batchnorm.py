"""BatchNorm over ranks is the BatchNorm of one process with all samples: outputs, gradients and statistics."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from fastpath.config import ModelConfig
from fastpath.model.batchnorm import RankBatchNorm2d, recalibrate, synchronise
from fastpath.model.registry import build


class Ranks:
    """Sums over threads that stand for ranks."""

    def __init__(self, count: int) -> None:
        self.barrier, self.shared = threading.Barrier(count, timeout=20), [torch.zeros(())] * count

    def of(self, rank: int) -> Callable[[Tensor], Tensor]:
        def total(values: Tensor) -> Tensor:
            self.shared[rank] = values
            self.barrier.wait()
            summed = torch.stack(self.shared).sum(0)
            self.barrier.wait()
            return summed

        return total


def network(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2), nn.Flatten())


@pytest.mark.parametrize("shares", [(5, 3), (8, 0), (1, 7), (3, 2, 3)])
@pytest.mark.parametrize("act", [False, True])
def test_ranks_compute_what_one_process_would(shares: tuple[int, ...], act: bool) -> None:
    torch.manual_seed(0)
    whole = network(BatchNormAct2d(4) if act else nn.BatchNorm2d(4)).train()
    images = 3 + 2 * torch.randn(8, 3, 9, 9)
    weights = torch.randn(8, 2 * 5 * 5)
    copies = [copy.deepcopy(whole) for _ in shares]
    wanted = whole(images)
    (wanted * weights).sum().backward()

    ranks = Ranks(len(shares))

    def work(rank: int) -> Tensor:
        synchronise(copies[rank], ranks.of(rank))
        start = sum(shares[:rank])
        rank_outputs = copies[rank](images[start : start + shares[rank]])
        (rank_outputs * weights[start : start + shares[rank]]).sum().backward()
        return rank_outputs.detach()

    with ThreadPoolExecutor(len(shares)) as pool:
        outputs = torch.cat(list(pool.map(work, range(len(shares)))))
    torch.testing.assert_close(outputs, wanted.detach(), atol=1e-5, rtol=1e-5)
    for name, parameter in whole.named_parameters():
        summed = sum(dict(model.named_parameters())[name].grad for model in copies)
        torch.testing.assert_close(summed, parameter.grad, atol=2e-4, rtol=1e-4)
    for model in copies:
        state = model.state_dict()
        assert state.keys() == whole.state_dict().keys()
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(state[name], value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(copies[0].eval()(images), whole.eval()(images), atol=1e-5, rtol=1e-5)


def test_batchnorm_that_does_not_train_is_left_alone() -> None:
    model = network(nn.BatchNorm2d(4)).train()
    model[1].eval()
    synchronise(model, lambda values: values)
    assert type(model[1]) is nn.BatchNorm2d
    assert isinstance(model[4], RankBatchNorm2d)


def test_recalibrated_statistics_are_those_of_the_batches_in_the_frozen_part_too() -> None:
    torch.manual_seed(0)
    settings = ModelConfig(name="test_resnet", pretrained=False, trainable="head", batchnorm="frozen")
    model = build(settings, 32).train()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    batches = [2 + 3 * torch.randn(8, 3, 32, 32) for _ in range(3)]
    recalibrate(model, batches)
    first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        outputs = [convolution(images) for images in batches]
    torch.testing.assert_close(first.running_mean, torch.stack([each.mean((0, 2, 3)) for each in outputs]).mean(0))
    torch.testing.assert_close(first.running_var, torch.stack([each.var((0, 2, 3)) for each in outputs]).mean(0))
    assert model.training
    assert not first.training
    assert first.momentum == 0.1
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
