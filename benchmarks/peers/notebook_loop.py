"""The notebook's training loop, in words of its own, on its own loader or on fastpath's; in its own precision or not.

Each batch yielded is one training step taken (`train`) or one batch scored (`val`): the clock of `common` counts both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import timm
import torch
from torch import Tensor, nn

from benchmarks.peers import fastpath_loader, notebook
from benchmarks.peers.common import Batches, Task, Work, main
from fastpath.runtime import Runtime, resolve

WORKS = {
    "": Work(),
    "all-cores": Work(differs=("a worker a core",)),
    "amp": Work(differs=("mixed precision where the device has it, channels-last, loss from logits",)),
    "loader": Work(differs=fastpath_loader.WORKS[""].differs),
}


def network() -> nn.Module:
    """Return ResNet-50 with one output, its last stage and head trainable, as the notebook freezes it."""
    model: nn.Module = timm.create_model("resnet50", num_classes=1)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(("layer4", "fc"))
    return model


def load(task: Task) -> Batches:
    """Yield after each step."""
    torch.set_num_threads(task.threads)
    torch.manual_seed(42)
    with_fastpath, amp = task.variant == "loader", task.variant == "amp"
    # Only "amp" takes what fastpath sets up with it (memory kept between steps, cuDNN's search): the notebook has none.
    runtime = resolve(task.device, amp=True, num_threads=task.threads) if amp else None
    batches = (fastpath_loader if with_fastpath else notebook).load(task)
    model = network().to(task.device)
    if amp:
        model = model.to(memory_format=torch.channels_last)
    if task.mode == "val":
        return _scored(model, batches, task.device)
    return _trained(model, batches, task.device, runtime)


def _trained(model: nn.Module, batches: Batches, device: str, amp: Runtime | None) -> Batches:
    head = [p for name, p in model.named_parameters() if name.startswith("fc")]
    trunk = [p for name, p in model.named_parameters() if name.startswith("layer4")]
    optimizer = torch.optim.Adam([{"params": head, "lr": 1e-4}, {"params": trunk, "lr": 1e-5}], weight_decay=1e-4)
    precision = amp.autocast() if amp else contextlib.nullcontext()
    criterion = nn.BCEWithLogitsLoss() if amp else nn.BCELoss()
    running, scores, truths = 0.0, [], []
    model.train()
    for images, labels in batches:
        batch = images.to(device).contiguous(memory_format=torch.channels_last if amp else torch.contiguous_format)
        targets = labels.to(device).float().unsqueeze(1)
        optimizer.zero_grad()
        with precision:
            outputs = model(batch)
        loss = criterion(outputs.float() if amp else torch.sigmoid(outputs), targets)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(images)
        scores += outputs.detach().squeeze(1).tolist()
        truths += targets.squeeze(1).tolist()
        yield images, labels


def _scored(model: nn.Module, batches: Batches, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    scores: list[float] = []
    model.eval()
    with torch.no_grad():
        for images, labels in batches:
            scores += torch.sigmoid(model(images.to(device).contiguous())).squeeze(1).tolist()
            yield images, labels


if __name__ == "__main__":
    main(load, WORKS, ["torch", "torchvision", "timm"])
