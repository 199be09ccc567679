"""The loaders in a Lightning Trainer: `pip install lightning`, then `python examples/lightning_loop.py STORE`."""

from __future__ import annotations

import sys
from typing import Any

import lightning
import timm
import torch

import fastpath


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    """A ResNet-18 with one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model("resnet18", num_classes=1)

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return torch.nn.functional.binary_cross_entropy_with_logits(self.network(images)[:, 0], labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.AdamW(self.parameters(), lr=3e-4)


def main(path: str) -> None:
    """Train for two epochs on the training split."""
    train = fastpath.open_store(path).split("train")
    with fastpath.train_loader(train, batch_size=32, image_size=64, augment="d4") as batches:
        trainer = lightning.Trainer(max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False)
        trainer.fit(Classifier(), batches)


if __name__ == "__main__":
    main(sys.argv[1])
