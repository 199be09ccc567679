"""A training loop of your own over a packed store: `python examples/own_loop.py STORE [EPOCHS]`.

What it takes from the library: batches in an order and augmentation that the seed decides, and measures with intervals.
"""

from __future__ import annotations

import sys

import timm
import torch

import fastpath


def main(path: str, epochs: int) -> None:
    """Train a ResNet-18 from random weights on the training split and judge it on the validation split."""
    store = fastpath.open_store(path)
    train, val = store.split("train"), store.split("val")
    runtime = fastpath.resolve_runtime("auto")
    model = timm.create_model("resnet18", num_classes=1).to(runtime.device, memory_format=torch.channels_last)
    optimizer, loss_of = torch.optim.AdamW(model.parameters(), lr=3e-4), torch.nn.BCEWithLogitsLoss()
    with (
        fastpath.train_loader(train, batch_size=32, image_size=64, augment="d4", seed=1) as batches,
        fastpath.eval_loader(val, batch_size=32, image_size=64) as val_batches,
    ):
        for epoch in range(epochs):
            batches.set_epoch(epoch)
            model.train()
            for images, labels in batches:
                optimizer.zero_grad()
                loss_of(model(images)[:, 0], labels).backward()
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                logits = torch.cat([model(images)[:, 0].float().cpu() for images, _ in val_batches])
            result = fastpath.evaluate(val.labels_N, logits, val.groups_N)
            print(f"epoch {epoch + 1}: AUC {result.auc.value:.4f} ({result.auc.low:.4f} to {result.auc.high:.4f})")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2)
