"""What a strong user would write for a card without fastpath, and without waiting for it in any step.

Every patch in the card's memory, torchvision v2 there, AMP, channels-last, a fused optimiser, torch.compile.
Each batch yielded is one training step taken. A variant is a list of words: `batch` draws once a batch in place of once
an image (v2 does the whole batch in a few kernels, and every image is then turned, cropped and coloured alike); `eager`
does not compile.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.common import Batches, Task, Work, main
from benchmarks.peers.fastpath_loop import settle
from benchmarks.peers.notebook_loop import network
from benchmarks.peers.packed import Packed
from benchmarks.peers.torch_transforms import transform_for
from fastpath.runtime import resolve

BATCH = "one draw of the augmentation a batch: all its images are moved and coloured alike"
SAME = "mixed precision, channels-last, compiled, loss from logits"
WORKS = {
    "": Work(differs=(SAME,)),
    "eager": Work(differs=(SAME.replace(", compiled", ""),)),
    "batch": Work(differs=(SAME, BATCH)),
    "batch,eager": Work(differs=(SAME.replace(", compiled", ""), BATCH)),
}


class ResidentPatches:
    """All patches and labels in the device's memory, and the notebook's sampler there.

    Args:
        task: What to load.
    """

    def __init__(self, task: Task) -> None:
        packed = Packed(task.store)
        patches_NHWC = torch.from_numpy(packed.gather(np.arange(len(packed)))).to(task.device)
        self._patches_NCHW = patches_NHWC.permute(0, 3, 1, 2).contiguous()  # v2's colour works on planes
        self._labels_N = torch.from_numpy(packed.labels_N).float().to(task.device)
        self._weights_N = torch.from_numpy(packed.weights_N).float().to(task.device)
        self._batch_size = task.batch_size

    def batch(self, transform: Callable[[Tensor], Tensor], *, at_once: bool) -> tuple[Tensor, Tensor]:
        """Return one batch of weighted draws: float32 [N, 3, size, size], channels-last, and float32 [N]."""
        rows_N = torch.multinomial(self._weights_N, self._batch_size, replacement=True)
        patches_NCHW = self._patches_NCHW[rows_N]
        images = transform(patches_NCHW) if at_once else torch.stack([transform(patch) for patch in patches_NCHW])
        return images.contiguous(memory_format=torch.channels_last), self._labels_N[rows_N]


def load(task: Task) -> Batches:
    """Yield after each step."""
    words = task.variant.split(",")
    runtime = resolve(task.device, amp=True, num_threads=task.threads)  # cuDNN's search, threads, precision
    torch.manual_seed(42)
    patches, transform = ResidentPatches(task), transform_for(task)
    model = network().to(task.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    head = [p for name, p in model.named_parameters() if name.startswith("fc")]
    trunk = [p for name, p in model.named_parameters() if name.startswith("layer4")]
    groups = [{"params": head, "lr": 1e-4}, {"params": trunk, "lr": 1e-5}]
    optimizer = torch.optim.Adam(groups, weight_decay=1e-4, fused=True)
    compiled = model if "eager" in words else torch.compile(model)
    criterion, total = nn.BCEWithLogitsLoss(), torch.zeros((), device=task.device)
    while True:
        images, labels_N = patches.batch(transform, at_once="batch" in words)
        optimizer.zero_grad(set_to_none=True)
        with runtime.autocast():
            logits_N1 = compiled(images)
        loss = criterion(logits_N1.float().squeeze(1), labels_N)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(images)
        yield images, labels_N


if __name__ == "__main__":
    main(load, WORKS, ["torch", "torchvision", "timm"], settle)
