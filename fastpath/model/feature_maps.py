"""Which of a network's layers emits the feature maps that class activation methods draw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastpath.errors import UsageError, memory_exhausted
from fastpath.text import brief

_ATTENTION = re.compile(r"attn|attention|softmax", re.IGNORECASE)
"""In the names or classes of modules whose parts emit weights of places for places, which look like maps."""


@dataclass(frozen=True, slots=True)
class _Emitted:
    """A tensor that a module without children emitted.

    Attributes:
        module: The module.
        tensor: What it emitted, within the graph of the logits.
        attends: Whether the module is a part of an attention.
    """

    module: nn.Module
    tensor: Tensor
    attends: bool


def feature_layer(model: nn.Module, images_NCHW: Tensor) -> nn.Module:
    """Return the last module that emits feature maps [N, C, h, w] of more than one place.

    A feature map has a row for every image, is as square as the images are and a whole number of times smaller,
    depends on the image, and the logit depends on it. Attention maps and position embeddings are none, though some are
    of that shape.

    Args:
        model: Maps normalised images to logits [N]; in evaluation mode.
        images_NCHW: float32 [N, 3, H, W], of which the first is passed through.

    Raises:
        UsageError: There is none, or most of the network comes after it, as in a vision transformer.
    """
    image = images_NCHW[:1].detach()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image.device, image.dtype)
    pair_NCHW = torch.cat([image, noise]).requires_grad_()
    try:
        with torch.enable_grad(), _emitted(model) as seen:
            logits_N = model(pair_NCHW)
        shaped = [place for place, layer in enumerate(seen) if _is_map(layer, pair_NCHW)]
        late = [place for place in shaped if place + 1 >= len(seen) / 2]
        tensors = [seen[place].tensor for place in late]
        gradients = torch.autograd.grad(logits_N.sum(), tensors, allow_unused=True) if tensors else ()
    except RuntimeError as error:
        if memory_exhausted(error) is not None:
            raise
        raise _refused(f"cannot be differentiated ({brief(error, 100)})") from None
    used = [place for place, gradient in zip(late, gradients, strict=True) if gradient is not None and gradient.any()]
    if not used:
        raise _refused("found no feature maps near the network's end")
    return seen[used[-1]].module


def _refused(text: str) -> UsageError:
    return UsageError("gradcam, hirescam", f"{text}, wanted a convolutional network", "use integrated_gradients")


def _is_map(emitted: _Emitted, images_NCHW: Tensor) -> bool:
    """Whether a tensor is shaped like feature maps of two images, and differs between them."""
    tensor = emitted.tensor
    if emitted.attends or tensor.ndim != 4 or len(tensor) != len(images_NCHW) or not tensor.requires_grad:
        return False
    side, whole = tensor.shape[-1], images_NCHW.shape[-1]
    if tensor.shape[-2] != side or not 1 < side <= whole:
        return False
    # Strides divide: a map of 7 places comes of 224 pixels, one of 197 or 50 does not.
    strides = {whole // side, -(-whole // side)}
    if not any(side in (whole // stride, -(-whole // stride)) for stride in strides):
        return False
    with torch.no_grad():
        return not bool(torch.equal(tensor[0], tensor[1])) and not _is_distribution(tensor)


def _is_distribution(tensor: Tensor) -> bool:
    """Whether rows or columns are shares of a whole, as those of an attention map are."""
    if bool((tensor < 0).any()):
        return False
    return any(
        bool(torch.allclose(total, torch.ones_like(total), atol=1e-3)) for total in (tensor.sum(-1), tensor.sum(-2))
    )


@contextmanager
def _emitted(model: nn.Module) -> Iterator[list[_Emitted]]:
    """Gather what modules without children emit, in the order of the pass."""
    seen: list[_Emitted] = []
    attending = {
        id(part)
        for name, module in model.named_modules()
        if _ATTENTION.search(name.rpartition(".")[2]) or _ATTENTION.search(type(module).__name__)
        for part in module.modules()
    }

    def note(module: nn.Module, _: Any, output: Any) -> None:  # noqa: ANN401 (torch's hook)
        if isinstance(output, Tensor):
            seen.append(_Emitted(module, output, id(module) in attending))

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
