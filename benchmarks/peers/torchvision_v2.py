"""torchvision.transforms.v2 on packed uint8 tensors in a DataLoader, in the notebook's order or reordered."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from benchmarks.peers.common import Batches, Task, Work, main
from benchmarks.peers.packed import Packed
from benchmarks.peers.torch_transforms import REORDERED, tensor_of, transform_for

WORKS = {"reordered": Work(differs=(REORDERED,))}


class Patches(Dataset[tuple[torch.Tensor, int]]):
    """One packed patch an item."""

    def __init__(self, task: Task) -> None:
        self.packed = Packed(task.store)
        self.labels = self.packed.labels_N.tolist()
        self.transform = transform_for(task)

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(tensor_of(self.packed.patch(index))), self.labels[index]


def load(task: Task) -> Batches:
    """Yield batches, epoch after epoch."""
    data = Patches(task)
    sampler = WeightedRandomSampler(data.packed.weights_N.tolist(), len(data)) if task.mode == "train" else None
    loader = DataLoader(data, task.batch_size, sampler=sampler, num_workers=task.threads, persistent_workers=True)
    while True:
        yield from loader


if __name__ == "__main__":
    main(load, WORKS, ["torch", "torchvision"])
