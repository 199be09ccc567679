"""Test-time augmentation: a model's opinion of the eight ways to turn and mirror a patch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from fastpath.runtime import Runtime
from fastpath.types import Batch

NUM_VIEWS = 8


@dataclass(frozen=True, slots=True)
class ViewPredictions:
    """Logits of every view, in the order the loader yielded the patches.

    Attributes:
        indices_N: int64 [N], rows of the store.
        logits_NV: float32 [N, V]; the first is the patch as it is.
    """

    indices_N: np.ndarray
    logits_NV: np.ndarray


def d4_views(images_NCHW: Tensor) -> Iterator[Tensor]:
    """Yield the eight views of square images: four quarter turns, and the four of the mirror image.

    Pixels are moved, never interpolated. The first view is the very tensor given; the others are channels-last too.

    Args:
        images_NCHW: [N, C, H, W], H = W.
    """
    assert images_NCHW.shape[-1] == images_NCHW.shape[-2], f"{tuple(images_NCHW.shape)} is not square"
    for mirrored in (False, True):
        for turns in range(4):
            if not mirrored and not turns:
                yield images_NCHW
                continue
            view = images_NCHW.flip(3) if mirrored else images_NCHW
            yield torch.rot90(view, turns, (2, 3)).contiguous(memory_format=torch.channels_last)


def predict_views(
    model: nn.Module,
    batches: Iterable[Batch],
    runtime: Runtime,
    num_patches: int,
    *,
    num_views: int = NUM_VIEWS,
    advance: Callable[[int], None] | None = None,
) -> ViewPredictions:
    """Return the logits of the first views of every patch. Puts the model in evaluation mode.

    Args:
        model: Maps images [N, 3, H, W] to logits [N]; on the runtime's device.
        batches: On the runtime's device.
        runtime: Device and precision.
        num_patches: In all batches.
        num_views: 1 for the patch as it is, 8 for all of D4.
        advance: Called after each batch with the number of patches done so far.
    """
    model.eval()
    # Room for all of them from the start: a small result kept from each batch would lie where large activations were,
    # so that the next batch's find no place and memory grows.
    indices_N = torch.empty(num_patches, dtype=torch.int64, device=runtime.device)
    logits_NV = torch.empty(num_patches, num_views, device=runtime.device)
    done = 0
    for batch in batches:
        rows = slice(done, done + len(batch.indices_N))
        # A view at a time: the same batch shape as without views, hence the same numbers, and no more memory.
        with torch.inference_mode(), runtime.autocast():
            for number, view in enumerate(islice(d4_views(batch.images_NCHW), num_views)):
                logits_NV[rows, number] = model(view).float()
        indices_N[rows] = batch.indices_N
        done = rows.stop
        if advance is not None:
            advance(done)
    assert done == num_patches, f"{done} patches came, of {num_patches}"
    return ViewPredictions(indices_N.cpu().numpy(), logits_NV.cpu().numpy())
