import pytest
import torch
from torch import nn

from fastpath.errors import ConfigError
from fastpath.model.baseline import BaselineCNN


def test_has_the_notebooks_parameters_at_224() -> None:
    # 3 convolutions with BatchNorm, 128·28·28 → 256, 256 → 1.
    assert sum(p.numel() for p in BaselineCNN(224).parameters()) == 25_784_321


@pytest.mark.parametrize("size", [8, 33, 50, 96])
def test_takes_any_input_size(size: int) -> None:
    assert BaselineCNN(size)(torch.randn(2, 3, size, size)).shape == (2, 1)


def test_refuses_an_input_that_vanishes() -> None:
    with pytest.raises(ConfigError, match=r"found 7, wanted at least 8"):
        BaselineCNN(7)


def test_pooling_before_relu_changes_neither_values_nor_gradients() -> None:
    torch.manual_seed(0)
    ours = BaselineCNN(32).eval()
    blocks = []
    for convolution, norm, pool, relu in ours.blocks:
        blocks += [convolution, norm, relu, pool]
    notebook = nn.Sequential(*blocks, ours.hidden, ours.classifier).eval()
    images = torch.randn(4, 3, 32, 32, requires_grad=True)
    for_ours, for_notebook = ours(images), notebook(images)
    assert torch.equal(for_ours, for_notebook)
    (grad_ours,) = torch.autograd.grad(for_ours.sum(), images)
    (grad_notebook,) = torch.autograd.grad(for_notebook.sum(), images)
    assert torch.allclose(grad_ours, grad_notebook, rtol=1e-5, atol=1e-7)
